"""Lightning: ``automatic``, ``accumulating`` or ``manual`` optimization, perhaps with hotlap's callback."""

import sys

import lightning
import torch
from lightning.pytorch.loggers import CSVLogger
from tiny import loader, network, told


class Module(lightning.LightningModule):
    def __init__(self, manual):
        super().__init__()
        self.network = network()
        self.automatic_optimization = not manual
        self.losses = []

    def training_step(self, batch, index):
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.network(x), y)
        self.log("loss", loss, prog_bar=True)
        self.losses.append(loss.item().hex())
        if self.automatic_optimization:
            return loss
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
        optimizer.step()
        return None

    def validation_step(self, batch, index):
        x, y = batch
        self.log("val_loss", torch.nn.functional.mse_loss(self.network(x), y), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


how = sys.argv[1]
options = {} if how == "manual" else {"gradient_clip_val": 0.5}
if "callback" in sys.argv:
    from hotlap.integrations.lightning import HotlapCallback

    options["callbacks"] = [HotlapCallback()]
module = Module(manual=how == "manual")
trainer = lightning.Trainer(
    max_epochs=2,
    accelerator="cpu",
    logger=CSVLogger("logs"),
    log_every_n_steps=4,
    enable_model_summary=False,
    accumulate_grad_batches=2 if how == "accumulating" else 1,
    **options,
)
trainer.fit(module, loader(128, 8, 1, shuffle=True), loader(32, 8, 2))
told(trainer.global_step, 2 * 128, module.losses, module)
