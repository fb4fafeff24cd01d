"""Two models, two optimizers, two loaders; a gradient penalty by ``autograd.grad``, a critic in eval mode."""

import torch
from told import Told, network, samples
from torch.utils.data import DataLoader

generator, critic, judge = network(outputs=16), network(seed=1), network(seed=2).eval()
for parameter in judge.parameters():
    parameter.requires_grad_(False)
of_generator = torch.optim.Adam(generator.parameters(), lr=1e-3)
of_critic = torch.optim.Adam(critic.parameters(), lr=1e-3)
told = Told()
told.begin()
for (real, _), (noise, _) in zip(
    DataLoader(samples(60), batch_size=4), DataLoader(samples(60, seed=4), batch_size=4), strict=True
):
    with torch.no_grad():
        fake = generator(noise)
    of_critic.zero_grad()
    mixed = (real + fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    of_critic_loss = critic(fake).mean() - critic(real).mean() + slope.square().mean()
    of_critic_loss.backward()
    of_critic.step()

    critic.requires_grad_(False)  # its gradients are not wanted here; it is trained all the same
    of_generator.zero_grad()
    made = generator(noise)
    of_generator_loss = judge(made).mean() - critic(made).mean()
    of_generator_loss.backward()
    of_generator.step()
    critic.requires_grad_(True)
    told.step([of_critic_loss, of_generator_loss], 8)
told.end()
