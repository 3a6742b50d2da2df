from collections.abc import Iterator
from itertools import permutations
from weakref import ReferenceType, ref

import pytest
import torch
from torch import Tensor

from coplms.consortium.aggregate import weighted_mean, weighted_product
from coplms.consortium.messages import Upload
from coplms.errors import ConsortiumError


def upload(device: str, num_examples: int, **tensors: Tensor) -> Upload:
    return Upload(3, device, tensors, num_examples)


def test_the_mean_is_weighted_by_numbers_of_examples() -> None:
    mean = weighted_mean(
        [
            upload("law", 1, w=torch.tensor([4.0, 0.0]), b=torch.tensor(1.0)),
            upload("bank", 3, w=torch.tensor([8.0, 4.0]), b=torch.tensor(-1.0)),
        ]
    )
    assert mean["w"].tolist() == [7.0, 3.0]
    assert mean["b"].item() == -0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mean_of_equal_uploads_is_the_upload(dtype: torch.dtype) -> None:
    tensor = torch.randn(1000).to(dtype)
    uploads = [upload(name, n, w=tensor.clone()) for name, n in (("a", 7), ("b", 11), ("c", 3))]
    mean = weighted_mean(uploads)["w"]
    assert mean.dtype == dtype
    assert torch.equal(mean, tensor)


def test_one_upload_is_its_own_mean() -> None:
    tensor = torch.randn(100)
    assert torch.equal(weighted_mean([upload("a", 17, w=tensor)])["w"], tensor)


def test_the_order_of_the_uploads_does_not_change_a_bit() -> None:
    uploads = [upload(name, 3 + len(name), w=torch.randn(500)) for name in ("a", "bb", "ccc", "d")]
    expected = weighted_mean(uploads)["w"]
    for order in permutations(uploads):
        assert torch.equal(weighted_mean(order)["w"], expected)


def test_one_upload_is_held_at_a_time() -> None:
    alive: list[ReferenceType[Tensor]] = []

    def uploads() -> Iterator[Upload]:
        for device in ("a", "b", "c", "d"):
            tensor = torch.ones(3)
            assert not any(each() is not None for each in alive)
            alive.append(ref(tensor))
            yield upload(device, 1, w=tensor)
            del tensor

    assert weighted_mean(uploads())["w"].tolist() == [1.0] * 3
    assert len(alive) == 4


def test_uploads_stay_as_they_were() -> None:
    tensor = torch.ones(3)
    weighted_mean([upload("a", 1, w=tensor), upload("b", 1, w=torch.zeros(3))])
    assert tensor.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"w": torch.zeros(2), "extra": torch.zeros(1)}, "only one has extra"),
        ({}, "only one has w"),
        ({"w": torch.zeros(3)}, r"w has the shapes \(2,\) and \(3,\)"),
    ],
)
def test_different_tensors_are_refused_with_both_names(
    other: dict[str, Tensor], difference: str
) -> None:
    uploads = [upload("law", 1, w=torch.zeros(2)), upload("finance", 1, **other)]
    with pytest.raises(
        ConsortiumError, match=f"round 3: devices 'law' and 'finance' .*: {difference}"
    ):
        weighted_mean(uploads)


def test_a_round_without_answers_is_refused() -> None:
    with pytest.raises(ConsortiumError, match="no device answered"):
        weighted_mean([])


def lora(device: str, num_examples: int, generator: torch.Generator, rank: int = 2) -> Upload:
    tensors = {
        "up.lora_A.weight": torch.randn(rank, 5, generator=generator),
        "up.lora_B.weight": torch.randn(4, rank, generator=generator),
        "norm.weight": torch.randn(3, generator=generator),
    }
    return Upload(3, device, tensors, num_examples)


def product(values: dict[str, Tensor]) -> Tensor:
    return values["up.lora_B.weight"].double() @ values["up.lora_A.weight"].double()


def test_the_product_is_the_nearest_of_its_rank_to_the_mean_of_the_updates() -> None:
    generator = torch.Generator().manual_seed(0)
    uploads = [lora(name, n, generator) for name, n in (("a", 1), ("b", 3), ("c", 2))]
    found = weighted_product(uploads)
    wanted = sum(u.num_examples / 6 * product(u.shared) for u in uploads)
    u, s, v = torch.linalg.svd(wanted)
    assert torch.allclose(product(found), u[:, :2] * s[:2] @ v[:2], atol=1e-6)
    by_factors = product(weighted_mean(uploads))
    distances = [torch.linalg.norm(p - wanted).item() for p in (product(found), by_factors)]
    assert distances[0] == pytest.approx(torch.linalg.norm(s[2:]).item(), rel=1e-5)
    assert distances[0] < distances[1]
    assert torch.equal(found["norm.weight"], weighted_mean(uploads)["norm.weight"])
    assert {k: v.shape for k, v in found.items()} == {
        k: v.shape for k, v in uploads[0].shared.items()
    }


def test_equal_updates_have_their_own_product_whatever_their_factors() -> None:
    first = lora("a", 2, torch.Generator().manual_seed(1))
    turned = {
        **first.shared,
        "up.lora_A.weight": -2 * first.shared["up.lora_A.weight"],
        "up.lora_B.weight": -first.shared["up.lora_B.weight"] / 2,
    }
    uploads = [first, Upload(3, "b", turned, 5)]
    assert torch.allclose(product(weighted_product(uploads)), product(first.shared), atol=1e-6)
    assert not torch.allclose(product(weighted_mean(uploads)), product(first.shared), atol=1e-2)


def test_a_rank_that_is_wider_than_the_matrix_is_filled_with_nothing() -> None:
    uploads = [lora(n, 1, torch.Generator().manual_seed(2), rank=7) for n in ("a", "b")]
    found = weighted_product(uploads)
    assert found["up.lora_A.weight"].shape == (7, 5)
    assert torch.allclose(product(found), product(uploads[0].shared), atol=1e-5)
