"""A convolutional autoencoder, trained by fit with a loss and a metric of its own."""

import numpy as np

import minigrad as mg
from minigrad import data, nn, optim, train


class Autoencoder(nn.Module):
    """8x8 pixels to 12 numbers and back."""

    def __init__(self, rng):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1, rng=rng),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 4 * 4, 12, rng=rng),
        )
        self.expand = nn.Linear(12, 16 * 4 * 4, rng=rng)
        self.decoder = nn.Sequential(
            nn.ReLU(), nn.ConvTranspose2d(16, 1, 3, stride=2, padding=1, output_padding=1, rng=rng), nn.Sigmoid()
        )

    def forward(self, x):
        return self.decoder(self.expand(self.encoder(x)).reshape(-1, 4, 4, 16))


class Pairs:
    """Inputs and targets as a data set."""

    def __init__(self, inputs, targets):
        self.inputs = inputs
        self.targets = targets

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return self.inputs[index], self.targets[index]


def test_an_autoencoder_beats_the_mean_image():
    images = data.Digits(train=True).images
    images = (images - images.min()) / (images.max() - images.min())
    training = Pairs(images[:1200], images[:1200])
    held_out = Pairs(images[1200:], images[1200:])

    net = Autoencoder(rng=np.random.default_rng(0))
    history = train.fit(
        net,
        data.DataLoader(training, 64, rng=0),
        optimizer=optim.Adam(net.parameters(), lr=3e-3),
        epochs=12,
        loss=mg.mse_loss,
        metrics={"mae": lambda output, target: abs(output - target).mean()},
        evaluate_on={"test": data.DataLoader(held_out, 200)},
    )
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["test_mae"] < history[0]["test_mae"]

    with mg.no_grad():
        restored = net.eval()(mg.Tensor(images[1200:])).numpy()
    assert restored.shape == images[1200:].shape
    baseline = np.mean((images[1200:] - images[:1200].mean(axis=0)) ** 2)
    assert np.mean((images[1200:] - restored) ** 2) < 0.6 * baseline
