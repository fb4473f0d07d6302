"""Codebooks: the nearest code exactly, the library's codebooks sped up, gradients, moving averages, dead codes."""

from __future__ import annotations

import copy

import pytest
import torch
from anyany_tokenizers.codebooks import DebiasedCodebook, EmaCodebook, GradientCodebook, passed, perplexity
from anyany_tokenizers.fast_codebook import FastCodebook, speed_up
from anyany_tokenizers.nearest import COLUMNS, nearest, tile_rows
from vector_quantize_pytorch import ResidualVQ, VectorQuantize


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(x: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Every distance in float64; equal ones go to the lower index."""
    return (x.double()[:, None] - codes.double()[None]).square().sum(-1).argmin(1)


# nearest ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("vectors", "width", "codes"),
    [(1, 1, 1), (7, 3, 5), (300, 8, 129), (65, 32, 1000), (200, 100, 256), (0, 4, 9), (33, 5, 2500)],
)
def test_the_nearest_code_is_that_of_all_distances(vectors, width, codes):
    x, table = normal(vectors, width), normal(codes, width, seed=1)
    assert torch.equal(nearest(x, table), by_hand(x, table))


def test_equal_codes_go_to_the_lower_index_and_near_ties_to_the_truly_nearer():
    table = normal(40, 8)
    table = torch.cat([table, table, table + 1e-7 * normal(40, 8, seed=1)])
    x = torch.cat([normal(400, 8, seed=2), table[:40], (table[:1] + table[1:2]) / 2])
    assert torch.equal(nearest(x, table), by_hand(x, table))
    assert nearest(x, torch.zeros(300, 8)).eq(0).all()


def test_codes_far_shorter_than_the_vectors_are_told_apart():
    """float32 distances would all be equal: the codes are those of a new VQGAN, of length 1e-4."""
    table, x = normal(64, 16) * 1e-5, normal(50, 16, seed=1) * 100
    assert torch.equal(nearest(x, table), by_hand(x, table))
    assert not torch.equal(torch.cdist(x, table).argmin(1), by_hand(x, table))


def test_a_vector_has_the_same_code_alone_in_any_batch_and_with_any_number_of_threads():
    x, table = normal(500, 24), normal(3000, 24, seed=1)
    table[1500:] = table[:1500] + 3e-7 * normal(1500, 24, seed=2)
    together, threads = nearest(x, table), torch.get_num_threads()
    assert torch.equal(together, torch.cat([nearest(row[None], table) for row in x]))
    try:
        torch.set_num_threads(2)
        with torch.inference_mode():
            assert torch.equal(together, nearest(x, table))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("distinct", [1, 3])
def test_a_collapsed_codebook_is_searched_among_its_distinct_codes(distinct, monkeypatch):
    """Equal codes leave every vector undecided; deciding each among all of them took a minute at real sizes."""
    table, x, among = normal(distinct, 16).repeat(200, 1), normal(300, 16, seed=1), []

    def exact(x_RD, codes_KD, cosine):
        among.append(len(codes_KD))
        return by_hand(x_RD, codes_KD)

    monkeypatch.setattr("anyany_tokenizers.nearest._exact", exact)
    assert torch.equal(nearest(x, table), by_hand(x, table[:distinct]))
    assert all(count == distinct for count in among)


def test_cosine_looks_at_directions_alone():
    x, table = normal(100, 8), torch.nn.functional.normalize(normal(50, 8, seed=1), dim=1)
    assert torch.equal(nearest(x, table, cosine=True), (x.double() @ table.double().T).argmax(1))


def test_half_precision_is_searched_as_the_numbers_it_holds():
    x, table = normal(50, 8).bfloat16(), normal(60, 8, seed=1).bfloat16()
    assert torch.equal(nearest(x, table), by_hand(x, table))


def test_a_tile_is_less_than_a_fortieth_of_all_distances():
    for vectors, codes in ((4096, 4096), (8192, 8192), (65536, 16384)):
        assert tile_rows(vectors, torch.empty(codes, 1)) * COLUMNS * 40 <= vectors * codes


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(value):
    x = normal(4, 3)
    x[2, 1] = value
    for pair in ((x, normal(5, 3)), (normal(5, 3), x)):
        with pytest.raises(ValueError, match="not finite"):
            nearest(*pair)


def test_another_width_and_an_empty_codebook_are_refused():
    for table in (normal(5, 4), torch.empty(0, 3)):
        with pytest.raises(ValueError, match="cannot be looked up"):
            nearest(normal(2, 3), table)


# the library's codebooks --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [
        {}, {"use_cosine_sim": True}, {"heads": 4, "codebook_dim": 8}, {"codebook_dim": 8},
        {"heads": 2, "codebook_dim": 8, "separate_codebook_per_head": True}, {"affine_param": True},
        {"learnable_codebook": True, "ema_update": False}, {"kmeans_init": True},
    ],
)  # fmt: skip
def test_a_sped_up_codebook_gives_what_the_library_gives(options):
    torch.manual_seed(0)
    plain = VectorQuantize(32, 256, **options)
    x = normal(3, 50, 32)
    plain.train()(x)
    fast = copy.deepcopy(plain)
    assert speed_up(fast) == 1 and isinstance(fast._codebook, FastCodebook)
    assert fast.state_dict().keys() == plain.state_dict().keys()
    for mine, theirs in zip(fast.eval()(x), plain.eval()(x)):
        assert torch.equal(mine, theirs)


def test_near_ties_are_decided_as_the_library_decides_them():
    plain = VectorQuantize(8, 64).eval()
    table = plain._codebook.embed
    table[:, 32:] = table[:, :32] + 1e-7 * normal(1, 32, 8)
    x = torch.cat([normal(1, 2000, 8), table, (table[:, :1] + table) / 2], 1)
    fast = copy.deepcopy(plain)
    speed_up(fast)
    assert torch.equal(fast(x)[1], plain(x)[1])


def test_residual_quantisers_are_sped_up_whole_and_train_as_before():
    torch.manual_seed(0)
    plain = ResidualVQ(dim=16, num_quantizers=3, codebook_size=64)
    fast = copy.deepcopy(plain)
    assert speed_up(fast) == 3 and speed_up(fast) == 3
    for mode in ("eval", "train", "eval"):
        x = normal(2, 20, 16)
        for mine, theirs in zip(getattr(fast, mode)()(x), getattr(plain, mode)()(x)):
            assert torch.equal(mine, theirs)


def test_distances_are_still_there_for_the_cross_entropy_of_given_codes():
    plain = VectorQuantize(8, 16).eval()
    fast = copy.deepcopy(plain)
    speed_up(fast)
    x, ids = normal(2, 5, 8), torch.arange(10).view(2, 5)
    assert fast(x, indices=ids)[1] == plain(x, indices=ids)[1]
    assert torch.equal(fast(x)[1], plain(x)[1])


# gradients ----------------------------------------------------------------------------------------------------------
def test_straight_through_copies_gradients_and_rotation_turns_them():
    z = torch.tensor([[2.0, 0.0]], requires_grad=True)
    code = torch.tensor([[0.0, 1.0]])
    (grad,) = torch.autograd.grad(passed(z, code, "straight-through") @ torch.tensor([1.0, 3.0]), z)
    assert grad.tolist() == [[1.0, 3.0]]
    turned = passed(z, code, "rotation")
    assert torch.allclose(turned, code, atol=1e-6)
    # x turns to y, and y to -x; the lengths are 2 and 1.
    (grad,) = torch.autograd.grad(turned @ torch.tensor([1.0, 3.0]), z)
    assert torch.allclose(grad, torch.tensor([[1.5, -0.5]]), atol=1e-5)


@pytest.mark.parametrize(("legacy", "on_z", "on_code"), [(True, 1.0, 0.25), (False, 0.25, 1.0)])
def test_beta_weighs_the_side_that_it_says(legacy, on_z, on_code):
    book = GradientCodebook(2, 1, beta=0.25, legacy=legacy)
    book.embedding.weight.data = torch.tensor([[0.0], [10.0]])
    z = torch.tensor([[3.0]], requires_grad=True)
    loss = book(z).loss_M.sum()
    assert loss.item() == pytest.approx(1.25 * 9)
    grads = torch.autograd.grad(loss, (z, book.embedding.weight))
    assert grads[0].item() == pytest.approx(on_z * 6) and grads[1][0].item() == pytest.approx(-on_code * 6)


def test_perplexity_is_how_many_codes_are_used_evenly():
    assert perplexity(torch.tensor([0, 1, 2, 3]), 8).item() == pytest.approx(4, rel=1e-4)
    assert perplexity(torch.tensor([5, 5, 5]), 8).item() == pytest.approx(1, rel=1e-4)


# state --------------------------------------------------------------------------------------------------------------
def books() -> list[torch.nn.Module]:
    torch.manual_seed(0)
    debiased = DebiasedCodebook(16, 4)
    debiased.embeddings.data = normal(4, 16)
    return [GradientCodebook(16, 4, revive=0.5), EmaCodebook(dim=4, codebook_size=16), debiased]


@pytest.mark.parametrize("book", books(), ids=lambda b: type(b).__name__)
def test_nothing_changes_in_evaluation_and_codes_are_those_of_before_the_step(book):
    z, before = normal(30, 4, seed=1), copy.deepcopy(book.state_dict())
    quiet = book.eval()(z)
    assert all(torch.equal(v, before[k]) for k, v in book.state_dict().items())
    stepped = book.train()(z)
    assert torch.equal(stepped.ids_M, quiet.ids_M) and torch.equal(stepped.codes_MD, quiet.codes_MD)


@pytest.mark.parametrize(
    "book", [b for b in books() if not isinstance(b, GradientCodebook)], ids=lambda b: type(b).__name__
)
def test_moving_averages_bring_codes_to_their_vectors(book):
    z = (1.3 * book.table[:4].detach()).repeat(8, 1)
    assert book.eval()(z).ids_M[:4].unique().numel() == 4
    for _ in range(60):
        book.train()(z)
    assert torch.allclose(book.eval()(z).codes_MD, z, atol=0.02)


@pytest.mark.parametrize("kind", ["gradient", "ema"])
def test_dead_codes_become_vectors_of_the_batch_and_the_seed_says_which(kind):
    def made() -> torch.nn.Module:
        torch.manual_seed(0)
        if kind == "gradient":
            book = GradientCodebook(64, 4, revive=0.5)
            book.embedding.weight.data *= 0.01
            return book.train()
        return EmaCodebook(dim=4, codebook_size=64, decay=0.8, threshold_ema_dead_code=0.5).train()

    z = normal(100, 4, seed=1) + 50
    tables = []
    for seed in (1, 1, 2):
        book = made()
        for _ in range(120):
            book(z, seed)
        tables.append(book.table.detach().clone())
    assert torch.equal(tables[0], tables[1]) and not torch.equal(tables[0], tables[2])
    alive = (tables[0] > 40).all(1).float().mean()
    assert alive > 0.9, "codes that nobody used were not replaced"


def test_an_averaged_codebook_with_random_weights_begins_as_the_librarys_does():
    from anyany.registry import default_registry
    from anyany.testing.harness import bench

    book = (
        bench(default_registry().card("tokenizers/vq"), {"preset": "tiny", "codebook": "ema"})
        .build()
        .component.quantize
    )
    state = book._codebook
    assert bool(state.initted) and bool((state.cluster_size == 1).all()) and torch.equal(state.embed_avg, state.embed)
    book.train()(normal(50, 4))
    assert float(book.table.norm(dim=1).min()) > 0.01, "unused codes fell to zero"
