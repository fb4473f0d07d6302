"""The miniature's image head in plain torch and diffusers: what `image_heads/diffusion` is compared with.

Shapes: B batch, L text length, C conditioning width, H W picture sides.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from anyany_mini import models, talk
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

WEIGHTS = models.WEIGHTS / "draw"


class Drawing(models.Draw):
    """The bundled head."""

    def __init__(self) -> None:
        super().__init__(models.DRAW)
        missing, unexpected = self.load_state_dict(load_file(WEIGHTS / "model.safetensors"), strict=False)
        assert not missing and not unexpected
        self.float().eval().requires_grad_(False)
        self.tokenizer = Tokenizer.from_file(str(WEIGHTS / "tokenizer.json"))

    def embed(self, captions: Sequence[str]) -> Tensor:
        """Conditioning [B, 8, C]: the ids begin with the 8 signal tokens, whose states it is."""
        rows = [self.tokenizer.encode("".join(talk.SIGNALS) + c, add_special_tokens=False).ids for c in captions]
        longest = max(map(len, rows))
        ids_BL = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        return self.text_encoder(input_ids=ids_BL, attention_mask=(ids_BL != 0).long()).last_hidden_state[:, :8]

    def clean(self, noisy_B3HW: Tensor, sigma_B: Tensor, conditioning_B8C: Tensor) -> Tensor:
        """The clean picture [B, 3, H, W] in -1..1 that the network expects under noise of level sigma (0..1)."""
        return self.transformer(
            noisy_B3HW, encoder_hidden_states=conditioning_B8C, timestep=sigma_B * 1000, return_dict=False
        )[0]

    @torch.no_grad()
    def sample(self, conditioning_B8C: Tensor, noise_B3HW: Tensor, steps: int) -> Tensor:
        """Pictures [B, 3, H, W] in -1..1 by Euler steps from sigma 1 to 0 with classifier-free guidance."""
        from diffusers import FlowMatchEulerDiscreteScheduler

        guidance, floor = models.DRAW["guidance"], models.DRAW["sigma_min"]
        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
        scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
        picture, count = noise_B3HW, len(noise_B3HW)
        both = torch.cat([conditioning_B8C, self.null_conditioning.expand_as(conditioning_B8C)])
        for index, timestep in enumerate(scheduler.timesteps):
            sigma = scheduler.sigmas[index]
            found = self.clean(picture.repeat(2, 1, 1, 1), sigma.expand(len(both)), both)
            found = found[count:] + guidance * (found[:count] - found[count:])
            velocity = (picture - found) / sigma.clamp(min=floor)
            picture = scheduler.step(velocity, timestep, picture, return_dict=False)[0]
        return picture.clamp(-1, 1)
