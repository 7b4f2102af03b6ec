"""Success rates beside independent libraries, on the same weights and images of digits.

They run where PyTorch and foolbox or torchattacks are installed.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gmkit import attacks, data

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
EPSILON, N = 0.1, 200


@functools.cache
def trained():
    """A dense network trained on the digits, as NumPy weights, and test images it gets right."""
    dataset = data.load("digits")
    train, test = (dataset.examples(split) for split in ("train", "test"))
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    x = torch.tensor(np.array(to_unit(train["image"])).reshape(-1, 64))
    y = torch.tensor(train["label"]).long()
    adam = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(300):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        adam.step()
    weights = [p.detach().numpy() for p in net.parameters()]
    images = np.array(to_unit(test["image"]), np.float32)
    right = np.asarray(model(weights, images)).argmax(axis=1) == test["label"]
    return weights, images[right][:N], test["label"][right][:N]


def to_unit(x):
    return np.asarray(attacks.to_unit(x))


def model(weights, x):
    first, bias, last, shift = (jnp.asarray(w) for w in weights)
    hidden = jax.nn.relu(x.reshape(x.shape[0], -1) @ first.T + bias[None])
    return hidden @ last.T + shift[None]


def peer():
    weights, images, labels = trained()
    net = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(64, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 10),
    ).eval()
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), weights, strict=True):
            parameter.copy_(torch.tensor(value))
    return net, torch.tensor(images.transpose(0, 3, 1, 2)), torch.tensor(labels).long()


def ours(attack):
    """Fraction of images that are fooled, and the mean l2 distance."""
    weights, images, labels = trained()
    x_adv = attacks.attack_images(attack, jax.random.key(0), images, labels, batch_size=N)
    wrong = np.asarray(model(weights, x_adv)).argmax(axis=1) != labels
    return wrong.mean(), np.linalg.norm((x_adv - images).reshape(len(images), -1), axis=1).mean()


def logits(x):
    return model(trained()[0], x)


def wrong(net, x, y):
    with torch.no_grad():
        return float((net(x).argmax(1) != y).float().mean())


FOOLBOX = {
    "fgsm": (
        lambda a: a.LinfFastGradientAttack(),
        lambda: attacks.fgsm(logits, epsilon=EPSILON),
    ),
    "pgd": (
        lambda a: a.LinfPGD(abs_stepsize=0.01, steps=40, random_start=True),
        lambda: attacks.pgd(logits, epsilon=EPSILON, step_size=0.01, n_steps=40),
    ),
    "bim": (
        lambda a: a.LinfBasicIterativeAttack(abs_stepsize=0.01, steps=40, random_start=False),
        lambda: attacks.bim(logits, epsilon=EPSILON, step_size=0.01, n_steps=40),
    ),
}


@pytest.mark.parametrize("name", FOOLBOX)
def test_as_strong_as_foolbox(name):
    foolbox = pytest.importorskip("foolbox")
    theirs, make = FOOLBOX[name]
    net, x, y = peer()
    wrapped = foolbox.PyTorchModel(net, bounds=(0, 1))
    _, _, success = theirs(foolbox.attacks)(wrapped, x, y, epsilons=EPSILON)
    rate = float(success.float().mean())
    assert 0.2 < rate
    assert ours(make())[0] >= rate - 0.01


def test_carlini_wagner_is_as_near_as_foolbox():
    foolbox = pytest.importorskip("foolbox")
    net, x, y = peer()
    wrapped = foolbox.PyTorchModel(net, bounds=(0, 1))
    search = {"binary_search_steps": 6, "steps": 300, "stepsize": 1e-2, "initial_const": 0.1}
    attack = foolbox.attacks.L2CarliniWagnerAttack(**search)
    _, x_adv, success = attack(wrapped, x, y, epsilons=None)
    distance = float((x_adv - x).flatten(1).norm(dim=1).mean())
    rate, own = ours(
        attacks.carlini_wagner_l2(logits, n_steps=300, n_searches=6, initial_const=0.1)
    )
    assert rate >= float(success.float().mean()) - 0.01
    assert own <= 1.02 * distance


TORCHATTACKS = {
    "pgd": (
        lambda t, net: t.PGD(net, eps=EPSILON, alpha=0.01, steps=40),
        lambda: attacks.pgd(logits, epsilon=EPSILON, step_size=0.01, n_steps=40),
    ),
    "apgd": (
        lambda t, net: t.APGD(net, eps=EPSILON, steps=50, n_restarts=1),
        lambda: attacks.apgd(logits, epsilon=EPSILON, n_steps=50),
    ),
    "apgd_targeted": (
        lambda t, net: t.APGDT(net, eps=EPSILON, steps=50, n_restarts=1),
        lambda: attacks.apgd_targeted(logits, epsilon=EPSILON, n_steps=50),
    ),
    "square": (
        lambda t, net: t.Square(net, eps=EPSILON, n_queries=500),
        lambda: attacks.square(logits, epsilon=EPSILON, n_queries=500),
    ),
    "mi_fgsm": (
        lambda t, net: t.MIFGSM(net, eps=EPSILON, alpha=0.01, steps=10),
        lambda: attacks.mi_fgsm(logits, epsilon=EPSILON, n_steps=10, step_size=0.01),
    ),
}


@pytest.mark.parametrize("name", TORCHATTACKS)
def test_as_strong_as_torchattacks(name):
    torchattacks = pytest.importorskip("torchattacks")
    theirs, make = TORCHATTACKS[name]
    net, x, y = peer()
    torch.manual_seed(0)
    rate = wrong(net, theirs(torchattacks, net)(x, y), y)
    assert 0.2 < rate
    own = ours(make())[0]
    print(f"{name}: {own:.3f}, torchattacks {rate:.3f}")
    assert own >= rate - 0.01
