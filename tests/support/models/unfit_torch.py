"""Writes small networks of torch.export with operations that do not fit. It needs torch, and nothing of the project."""

# mypy: disable-error-code="misc,untyped-decorator,import-not-found"

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn


class Head(nn.Module):
    """A plain detector's end: (1, 7, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 7, 4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).sigmoid().flatten(2)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = Head()
        self.layer = self.made()

    def made(self) -> nn.Module:
        return nn.Identity()


class Plain(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x)


class EndToEnd(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        boxes, scores = self.head(x).permute(0, 2, 1).split([4, 3], -1)
        top, rows = torch.topk(scores.amax(-1), 10)
        return torch.cat([boxes.gather(1, rows.unsqueeze(-1).repeat(1, 1, 4)), top.unsqueeze(-1)], -1)


class Sorted(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sort(self.head(x), -1)[0]


class Recurrent(Net):
    def made(self) -> nn.Module:
        return nn.LSTM(7, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.head(x).permute(2, 0, 1))[0]


class Found(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nonzero(self.head(x) > 0.5)


class Video(Net):
    def made(self) -> nn.Module:
        return nn.Conv3d(3, 4, (2, 4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Branches(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.head(x)
        return torch.cond(y.mean() > 0.5, lambda t: t.relu(), lambda t: -t, (y,))


class Warped(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.head.conv(x)
        return nn.functional.grid_sample(maps, maps[:, :2].permute(0, 2, 3, 1), align_corners=False)


class Spectrum(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfft(self.head(x)).abs()


class Noisy(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x + torch.randn_like(x))


class Two(Net):
    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return self.head(x) * scale


@torch.library.custom_op("street::bend", mutates_args=())
def bend(x: torch.Tensor) -> torch.Tensor:
    """An operation of somebody's own."""
    return x.clone()


@bend.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class Own(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return bend(self.head(x))


IMAGE = torch.zeros(1, 3, 32, 32)
NETWORKS = {
    "plain": (Plain, (IMAGE,)), "end_to_end": (EndToEnd, (IMAGE,)), "sorted": (Sorted, (IMAGE,)),
    "recurrent": (Recurrent, (IMAGE,)), "found": (Found, (IMAGE,)), "video": (Video, (torch.zeros(1, 3, 4, 32, 32),)),
    "branches": (Branches, (IMAGE,)), "warped": (Warped, (IMAGE,)), "spectrum": (Spectrum, (IMAGE,)),
    "noisy": (Noisy, (IMAGE,)), "two": (Two, (IMAGE, torch.ones(1))), "own": (Own, (IMAGE,)),
}


def main(folder: Path) -> None:
    """Write each network as NAME.pt2."""
    for name, (network, inputs) in NETWORKS.items():
        program = torch.export.export(network().eval(), inputs)
        torch.export.save(program, folder / f"{name}.pt2")
    doubles = Plain().eval().double()
    torch.export.save(torch.export.export(doubles, (IMAGE.double(),)), folder / "doubles.pt2")
    free = dict.fromkeys((2, 3), torch.export.Dim.DYNAMIC)
    anywhere = torch.export.export(Plain().eval(), (IMAGE,), dynamic_shapes=(free,))
    torch.export.save(anywhere, folder / "any_size.pt2")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
