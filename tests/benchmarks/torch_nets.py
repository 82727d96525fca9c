"""The nets of `models` as PyTorch users write them, images (n, c, h, w). The other side of the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut of option A or B, or none."""

    def __init__(self, c_in: int, c_out: int, stride: int, shortcut: str | None = "A") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.stride, self.missing, self.plain = stride, c_out - c_in, shortcut is None
        self.downsample = None
        if shortcut == "B" and (stride > 1 or c_in != c_out):
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c_in, h, w) to (n, c_out, h / stride, w / stride)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.plain:
            return functional.relu(out)
        if self.downsample is not None:
            x = self.downsample(x)
        elif self.stride > 1 or self.missing:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))
        return functional.relu(out + x)


def cifar_resnet(depth: int) -> nn.Sequential:
    """The twin of `models.cifar_resnet`: 6n + 2 layers, 16, 32 and 64 channels, option A."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    c_in = 16
    for c_out in (16, 32, 64):
        for _ in range((depth - 2) // 6):
            layers.append(BasicBlock(c_in, c_out, stride=c_out // c_in))
            c_in = c_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, 10))


class PreactBlock(nn.Module):
    """Batch norm, ReLU and a 3x3 convolution, twice, and the shortcut of option A; `first` follows the stem's ReLU."""

    def __init__(self, c_in: int, c_out: int, first: bool) -> None:
        super().__init__()
        self.bn1 = nn.Identity() if first else nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, c_out // c_in, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.missing = c_out - c_in

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c_in, h, w) to (n, c_out, h / stride, w / stride)."""
        out = functional.relu(self.bn1(x))
        if self.missing:
            x = functional.pad(out[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.missing))
        return self.conv2(functional.relu(self.bn2(self.conv1(out)))) + x


def cifar_preact_resnet(depth: int) -> nn.Sequential:
    """The twin of `models.cifar_preact_resnet`, with 16, 32 and 64 channels."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    c_in = 16
    for c_out in (16, 32, 64):
        for _ in range((depth - 2) // 6):
            layers.append(PreactBlock(c_in, c_out, first=len(layers) == 3))
            c_in = c_out
    head = [nn.BatchNorm2d(c_in), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, 10)]
    return nn.Sequential(*layers, *head)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, and the shortcut of option B."""

    def __init__(self, c_in: int, width: int, stride: int, stride_in: str) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(c_in, width, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, second, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride > 1 or c_in != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(c_in, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c_in, h, w) to (n, 4 width, h / stride, w / stride)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return functional.relu(out + (x if self.downsample is None else self.downsample(x)))


def imagenet(
    block: Callable[[int, int, int], nn.Module], blocks: tuple[int, ...], width: int, expansion: int, num_classes: int
) -> nn.Sequential:
    """The stem, stages of ``block(c_in, width, stride)`` of `expansion` widths, and the head."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 7, 2, padding=3, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, padding=1))
    c_in = width
    for stage, n in enumerate(blocks):
        for i in range(n):
            layers.append(block(c_in, width * 2**stage, 2 if stage and not i else 1))
            c_in = expansion * width * 2**stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, num_classes))


def imagenet_34(shortcut: str | None, width: int, num_classes: int) -> nn.Sequential:
    """The twin of `models.resnet34` (option B) and `models.plain34` (none), with `width` filters in place of 64."""
    return imagenet(partial(BasicBlock, shortcut=shortcut), (3, 4, 6, 3), width, 1, num_classes)


def resnet34() -> nn.Sequential:
    """The twin of `models.resnet34`."""
    return imagenet_34("B", 64, 1000)


def plain34() -> nn.Sequential:
    """The twin of `models.plain34`."""
    return imagenet_34(None, 64, 1000)


def vgg16(image_size: int = 224, num_classes: int = 1000) -> nn.Sequential:
    """The twin of `models.vgg16`; its ReLUs overwrite their inputs, as torchvision's do."""
    layers: list[nn.Module] = []
    c_in = 3
    for n, c_out in zip((2, 2, 3, 3, 3), (64, 128, 256, 512, 512), strict=True):
        for _ in range(n):
            layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU(inplace=True)]
            c_in = c_out
        layers.append(nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    for c_in in (512 * (image_size // 32) ** 2, 4096):
        layers += [nn.Linear(c_in, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(4096, num_classes))


def bottleneck_resnet(blocks: tuple[int, ...], width: int, num_classes: int, stride_in: str) -> nn.Sequential:
    """The twin of `models.resnet50` and its deeper sisters, with `width` filters in place of 64."""
    return imagenet(partial(Bottleneck, stride_in=stride_in), blocks, width, 4, num_classes)


def resnet50() -> nn.Sequential:
    """The twin of `models.resnet50`: the paper's, stride in the first 1x1 convolution of a block."""
    return bottleneck_resnet((3, 4, 6, 3), 64, 1000, "1x1")
