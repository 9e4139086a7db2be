"""A cached method is computed once for each object and argument."""

from __future__ import annotations

from dgl_mutual.utils.caching import cached_method


class Powers:
    def __init__(self, base: int) -> None:
        self.base = base
        self.computed: list[int] = []

    @cached_method
    def power(self, exponent: int) -> int:
        """base ** exponent"""
        self.computed.append(exponent)
        return int(self.base**exponent)


class Negated(Powers):
    @cached_method
    def power(self, exponent: int) -> int:
        self.computed.append(exponent)
        return -int(self.base**exponent)


def test_each_object_computes_each_value_once() -> None:
    two, three = Powers(2), Powers(3)
    assert [two.power(3), two.power(3), two.power(2), three.power(3)] == [8, 8, 4, 27]
    assert (two.computed, three.computed) == ([3, 2], [3])
    assert Powers.power.__doc__ == "base ** exponent"


def test_a_subclass_may_replace_it() -> None:
    negated = Negated(2)
    assert [negated.power(3), negated.power(3)] == [-8, -8] and negated.computed == [3]
