"""HF Trainer: a tiny BERT made from its configuration, perhaps with hotlap's callback."""

import sys

import torch
from tiny import told
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments


class Sentences(torch.utils.data.Dataset):
    def __init__(self, count):
        generator = torch.Generator().manual_seed(1)
        self.words = torch.randint(0, 64, (count, 16), generator=generator)
        self.labels = torch.randint(0, 2, (count,), generator=generator)

    def __len__(self):
        return len(self.words)

    def __getitem__(self, index):
        return {"input_ids": self.words[index], "labels": self.labels[index]}


torch.manual_seed(0)
model = BertForSequenceClassification(
    BertConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
)
callbacks = []
if "callback" in sys.argv:
    from hotlap.integrations.transformers import HotlapCallback

    callbacks.append(HotlapCallback())
arguments = TrainingArguments(
    "out",
    max_steps=14,
    per_device_train_batch_size=4,
    gradient_accumulation_steps=2,
    eval_strategy="steps",
    eval_steps=6,
    save_steps=6,
    logging_steps=1,
    use_cpu=True,
    report_to=[],
)
trainer = Trainer(model, arguments, train_dataset=Sentences(160), eval_dataset=Sentences(16), callbacks=callbacks)
trainer.train()
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
told(trainer.state.global_step, 14 * 8, losses, model)
