"""Accelerate: accumulation, clipping, a validation and a checkpoint after each epoch."""

import torch
from accelerate import Accelerator
from tiny import loader, network, told

accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
model = network()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
model, optimizer, training, validation = accelerator.prepare(
    model, optimizer, loader(96, 4, 1, shuffle=True), loader(32, 4, 2)
)
steps, losses = 0, []
for epoch in range(3):
    for x, y in training:
        with accelerator.accumulate(model):
            loss = torch.nn.functional.mse_loss(model(x), y)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                steps += 1
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item().hex())
    model.eval()
    with torch.no_grad():
        total = sum(torch.nn.functional.mse_loss(model(x), y).item() for x, y in validation)
    model.train()
    accelerator.print("epoch", epoch, total)
    accelerator.save_state("state")
told(steps, 3 * 96, losses, model)
