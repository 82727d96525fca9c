"""A Dataset of one's own, indexed by one number or by an array, with augmentation."""

import numpy as np

import minigrad as mg
from minigrad import data, nn, optim
from minigrad.data import transforms


class OneByOne:
    """As in PyTorch, but for the base class: an index gives an image and its label; here, an array of them a batch."""

    def __init__(self, images, labels):
        self.images = images
        self.labels = labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


class Shifted:
    """An array of indices gives a batch, and every image is shifted by up to one pixel."""

    def __init__(self, images, labels, rng):
        self.images = images
        self.labels = labels
        self.rng = np.random.default_rng(rng)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        images = self.images[index].copy()
        for image in images if images.ndim == 4 else [images]:
            image[:] = np.roll(image, self.rng.integers(-1, 2, size=2), axis=(0, 1))
        return images, self.labels[index]


def learns(dataset, transform=None):
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, rng=0),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 10, rng=1),
    )
    sgd = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    loader = data.DataLoader(dataset, batch_size=50, rng=0, transform=transform)
    losses = []
    for _ in range(6):
        for images, labels in loader:
            assert images.shape == (len(labels), 8, 8, 1)
            loss = mg.cross_entropy(net(mg.Tensor(images)), labels)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            losses.append(loss.item())
    return np.mean(losses[-8:]) < 0.5 * np.mean(losses[:8])


def test_a_dataset_of_one_index_with_transforms():
    digits = data.Digits(train=True)
    augment = transforms.Compose(
        [
            transforms.RandomAffine(10),
            transforms.RandomCrop(8, padding=1),
            transforms.RandomErasing(),
        ]
    )
    dataset = OneByOne(digits.images[:1000], digits.labels[:1000])
    image, label = dataset[3]
    assert image.shape == (8, 8, 1)
    assert label == digits.labels[3]
    assert learns(dataset, transform=augment)


def test_a_dataset_of_arrays_of_indices():
    digits = data.Digits(train=True)
    dataset = Shifted(digits.images[:1000], digits.labels[:1000], rng=0)
    assert dataset[7][0].shape == (8, 8, 1)
    assert dataset[np.arange(5)][0].shape == (5, 8, 8, 1)
    assert learns(dataset)


def test_a_seeded_augmentation_repeats_itself():
    images = data.Digits(train=True).images[:3]
    augment = transforms.RandomAffine(degrees=15, translate=0.1, scale=(0.9, 1.1))
    first, again = (augment(images, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, images)
