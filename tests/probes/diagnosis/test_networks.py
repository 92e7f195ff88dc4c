"""The networks start at the linear probe, train each lane alone, and learn what lines cannot."""

import numpy as np
import pytest
import torch

from probes.diagnosis import networks
from probes.diagnosis.networks import attentive, gaze_mlp, mlp, train


def drawn(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def last(network, targets, decays, *, rounds=networks.ROUNDS, seed=0, rows=None):
    n = len(targets)
    steps = train(
        network, torch.zeros(targets.shape), targets, torch.ones(n),
        np.arange(n) if rows is None else rows, decays,
        rng=np.random.default_rng(seed), rounds=rounds,
    )  # fmt: skip
    return list(steps)


def test_a_network_adds_nothing_before_it_is_trained():
    every = torch.arange(5)
    shares = torch.full((5, 2, 3), 1 / 3)
    for network in (
        mlp(drawn(5, 4), 3),
        gaze_mlp(drawn(5, 4), drawn(5, 9, 2)),
        attentive(drawn(5, 3, 4), shares, torch.zeros(2, 4), torch.ones(2, 4), 3),
    ):
        start = networks._start(network, 2, np.random.default_rng(0))
        assert network.logits(start, every).abs().max() == 0
        assert network.logits(start, every).shape[:2] == (2, 5)


def test_an_attentive_probe_with_queries_of_zero_reads_the_pooled_features_linearly():
    tokens, shares = drawn(6, 5, 4), torch.softmax(drawn(6, 2, 5, seed=1), dim=2)
    mean, scale = drawn(2, 4, seed=2), drawn(2, 4, seed=3).exp()
    readout, bias = drawn(1, 2, 3, 4, seed=4), drawn(1, 3, seed=5)
    network = attentive(tokens, shares, mean, scale, 3)
    pooled = (torch.einsum("nrt,ntd->nrd", shares, tokens) - mean) * scale
    expected = torch.einsum("nrd,rcd->nc", pooled, readout[0]) + bias[0]
    found = network.logits([torch.zeros(1, 2, 3, 4), readout, bias], torch.arange(6))[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_attention_is_the_softmax_of_the_queries_with_the_shares_as_its_offset():
    tokens, shares = drawn(2, 3, 4), torch.softmax(drawn(2, 1, 3, seed=1), dim=2)
    mean, scale = drawn(1, 4, seed=2), drawn(1, 4, seed=3).exp()
    query, readout, bias = drawn(1, 1, 2, 4, seed=4), drawn(1, 1, 2, 4, seed=5), torch.zeros(1, 2)
    found = attentive(tokens, shares, mean, scale, 2).logits(
        [query, readout, bias], torch.arange(2)
    )
    for row in range(2):
        z = ((tokens[row] - mean[0]) * scale[0]).double()
        for k in range(2):
            weight = shares[row, 0].double() * (z @ query[0, 0, k].double() / 2).exp()
            expected = (weight / weight.sum()) @ (z @ readout[0, 0, k].double())
            torch.testing.assert_close(found[0, row, k].double(), expected, rtol=1e-4, atol=1e-4)


def test_lanes_are_alone_and_a_shorter_training_is_the_beginning_of_a_longer(monkeypatch):
    # A step a round: Adam turns rounding of small gradients into steps of full size later on.
    monkeypatch.setattr(networks, "FEWEST", 8)
    monkeypatch.setattr(networks, "MOST", 8)
    z = drawn(40, 3)
    targets = torch.eye(2)[(z[:, 0] * z[:, 1] > 0).long()]
    both = last(mlp(z, 2, hidden=8), targets, [0.0, 30.0], rounds=2)
    alone = last(mlp(z, 2, hidden=8), targets, [30.0], rounds=1)
    for together, single in zip(both[0], alone[0], strict=True):
        torch.testing.assert_close(together[1], single[0], rtol=1e-3, atol=1e-4)
    assert both[0][1][1].norm() < both[0][1][0].norm()  # decay shrinks


def test_equal_seeds_give_equal_bits_and_others_do_not():
    z = drawn(30, 3)
    targets = torch.eye(2)[torch.arange(30) % 2]
    one, same, other = (
        last(mlp(z, 2, hidden=4), targets, [1.0], rounds=1, seed=seed)[-1] for seed in (1, 1, 2)
    )
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[1], other[1])


def test_an_mlp_learns_a_parity_that_no_line_separates():
    z = drawn(300, 2)
    targets = torch.eye(2)[(z[:, 0] * z[:, 1] > 0).long()]
    network = mlp(z, 2, hidden=32)
    parameters = last(network, targets, [0.0])[-1]
    predicted = network.logits(parameters, torch.arange(300))[0].argmax(1)
    assert (predicted == targets.argmax(1)).float().mean() > 0.95


def test_attention_finds_the_one_token_that_knows():
    rng = np.random.default_rng(0)
    n, t, d = 300, 12, 6
    labels = rng.integers(0, 2, n)
    tokens = rng.normal(size=(n, t, d))
    place = rng.integers(0, t, n)
    tokens[np.arange(n), place, 0] = 6.0
    tokens[np.arange(n), place, 1] = 4.0 * labels - 2.0
    maps = torch.from_numpy(tokens.astype(np.float32))
    network = attentive(maps, torch.full((n, 1, t), 1 / t), torch.zeros(1, d), torch.ones(1, d), 2)
    parameters = last(network, torch.eye(2)[torch.from_numpy(labels)], [0.0])[-1]
    predicted = network.logits(parameters, torch.arange(n))[0].argmax(1).numpy()
    assert (predicted == labels).mean() > 0.97


@pytest.mark.slow
def test_steps_are_those_of_adamw():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 3, 4)).astype(np.float32)
    gradients = torch.from_numpy(rng.normal(size=(20, 2, 3, 4)).astype(np.float32))
    own = torch.from_numpy(values.copy()).requires_grad_()
    adam = networks._Adam([own], [True], [0.0, 5.0])
    for gradient in gradients:
        adam.step([gradient])
    for lane, decay in enumerate((0.0, 5.0)):
        theirs = torch.from_numpy(values[lane].copy()).requires_grad_()
        reference = torch.optim.AdamW(
            [theirs], lr=networks.RATE, betas=networks.MOMENTS, weight_decay=decay
        )
        for gradient in gradients:
            theirs.grad = gradient[lane].clone()
            reference.step()
        torch.testing.assert_close(own[lane], theirs, rtol=1e-5, atol=1e-6)
