"""Events of a function of a program: every operation, at concrete sizes, under the mapping of docs/cost.md."""

from collections.abc import Mapping, Sequence

from hwsim.accelerator.arithmetic import arithmetic
from hwsim.accelerator.events import Event, merge, scaled
from hwsim.accelerator.residence import Call, Residence
from hwsim.accelerator.traffic import Array, traffic
from hwsim.operations import Operation
from hwsim.program import Function, Program

ARRAY = Array()
"""32 x 32 elements."""


def function_events(program: Program, function: str, sizes: Mapping[str, int], array: Array = ARRAY) -> list[Event]:
    """Events of one call of a function.

    Parameters
    ----------
    program
        A validated program.
    function
        Its name.
    sizes
        Size of every symbolic dimension of the function that is no sum of others: `batch`, `source`, `target`, `past`.
        Padding is not the mapping's business: give the lengths without it.
    array
        Output-stationary array.

    Returns
    -------
    list of Event
        In the order of the operations; no two differ in their count alone, none is 0.

    Raises
    ------
    ValueError
        If the function is unknown, or a size is missing, unknown or outside its dimension.
    """
    definition = find_function(program, function)
    residence = Residence(program, definition)
    _check_sizes(residence, sizes)
    return merge(
        event for operation in definition.operations for event in operation_events(operation, residence, sizes, array)
    )


def find_function(program: Program, name: str) -> Function:
    """A function by name; the error lists the known ones."""
    if name not in program.functions:
        raise ValueError(f"unknown function {name!r}; the program has {', '.join(program.functions)}")
    return program.functions[name]


def operation_events(operation: Operation, residence: Residence, sizes: Mapping[str, int], array: Array) -> list[Event]:
    """Events of one operation in a fixed order: the sizes decide the counts and nothing else."""
    call = Call(residence, sizes)
    return [*arithmetic(operation, call), *traffic(operation, call, array)]


def _check_sizes(residence: Residence, sizes: Mapping[str, int]) -> None:
    needed = set().union(*(residence.dimensions(operation) for operation in residence.function.operations))
    dimensions = residence.program.dimensions
    unknown, missing = set(sizes) - set(dimensions), needed - set(sizes)
    if unknown or missing:
        raise ValueError(f"{residence.function.name}: missing sizes {sorted(missing)}, unknown sizes {sorted(unknown)}")
    for name, size in sizes.items():
        if not 0 <= size <= dimensions[name].maximum:
            raise ValueError(f"size {name} is {size}; allowed are 0 to {dimensions[name].maximum}")
    for dimension in dimensions.values():
        if dimension.terms and sum(sizes.get(term, 0) for term in dimension.terms) > dimension.maximum:
            raise ValueError(f"{' + '.join(dimension.terms)} exceeds {dimension.maximum}")


class FunctionCounter:
    """Counts many calls of one function, remembering what it has counted.

    Operations that depend on the same dimensions form a group, counted once for each combination of their sizes. Over
    successive calls in which one dimension grows by one from 0, a group keeps its running sums.

    Attributes
    ----------
    keys
        One event of count 0 for each kind of event of the function, in the order of the operations. All counts here
        are lists of integers in this order.
    """

    def __init__(self, program: Program, function: str, array: Array = ARRAY) -> None:
        self._residence = Residence(program, find_function(program, function))
        self._array = array
        operations = self._residence.function.operations
        self._groups: dict[frozenset[str], list[Operation]] = {}
        for operation in operations:
            self._groups.setdefault(self._residence.dimensions(operation), []).append(operation)
        ones = {dimension: 1 for group in self._groups for dimension in group}
        keys = {scaled(e, 0): None for o in operations for e in operation_events(o, self._residence, ones, array)}
        self.keys = list(keys)
        position = {key: i for i, key in enumerate(self.keys)}
        self._positions = {group: [position[key] for key in self._count(group, ones)] for group in self._groups}
        self._known: dict[tuple[frozenset[str], tuple[int, ...]], list[int]] = {}
        self._running: dict[tuple[frozenset[str], tuple[int, ...]], list[list[int]]] = {}

    def call(self, sizes: Mapping[str, int]) -> list[int]:
        """Counts of one call."""
        return self._gather({group: self._at(group, sizes) for group in self._groups})

    def calls(self, sizes: Mapping[str, int], growing: str, steps: int) -> list[int]:
        """Counts of `steps` calls, in which the dimension `growing` is 0, 1, ..., steps - 1."""
        parts = {}
        for group in self._groups:
            if growing in group:
                parts[group] = self._sum(group, sizes, growing, steps)
            else:
                parts[group] = [steps * count for count in self._at(group, sizes)]
        return self._gather(parts)

    def events(self, counts: Sequence[int]) -> list[Event]:
        """Counts as events, zeros dropped."""
        return [scaled(key, count) for key, count in zip(self.keys, counts, strict=True) if count]

    def _count(self, group: frozenset[str], sizes: Mapping[str, int]) -> dict[Event, int]:
        counts: dict[Event, int] = {}
        for operation in self._groups[group]:
            for event in operation_events(operation, self._residence, sizes, self._array):
                key = scaled(event, 0)
                counts[key] = counts.get(key, 0) + event.count
        return counts

    def _at(self, group: frozenset[str], sizes: Mapping[str, int]) -> list[int]:
        key = group, tuple(sizes[dimension] for dimension in sorted(group))
        if key not in self._known:
            self._known[key] = list(self._count(group, sizes).values())
        return self._known[key]

    def _sum(self, group: frozenset[str], sizes: Mapping[str, int], growing: str, steps: int) -> list[int]:
        others = tuple(sizes[dimension] for dimension in sorted(group - {growing}))
        running = self._running.setdefault((group, others), [[0] * len(self._positions[group])])
        while len(running) <= steps:
            counts = self._count(group, {**sizes, growing: len(running) - 1}).values()
            running.append([total + count for total, count in zip(running[-1], counts, strict=True)])
        return running[steps]

    def _gather(self, parts: Mapping[frozenset[str], Sequence[int]]) -> list[int]:
        counts = [0] * len(self.keys)
        for group, part in parts.items():
            for position, count in zip(self._positions[group], part, strict=True):
                counts[position] = count
        return counts
