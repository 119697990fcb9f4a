"""Events for tests, made in a line."""

from hwsim.accelerator.events import LEVEL_OF, Component, Direction, Event, Level, Operand


def compute(site: str, operation: str, component: Component, bits: int, count: int, second_bits: int = 0) -> Event:
    """An event of the datapath."""
    return Event(
        site=site,
        operation=operation,
        component=component,
        level=Level.DATAPATH,
        operand=Operand.NONE,
        direction=Direction.NONE,
        bits=bits,
        second_bits=second_bits,
        count=count,
    )


def move(
    site: str, operation: str, component: Component, operand: Operand, direction: Direction, bits: int, count: int
) -> Event:
    """An event of `count` bytes at the level of its component."""
    return Event(
        site=site,
        operation=operation,
        component=component,
        level=LEVEL_OF[component],
        operand=operand,
        direction=direction,
        bits=bits,
        second_bits=0,
        count=count,
    )


def scaled(event: Event, count: int) -> Event:
    """The same event with another count."""
    return Event(
        site=event.site,
        operation=event.operation,
        component=event.component,
        level=event.level,
        operand=event.operand,
        direction=event.direction,
        bits=event.bits,
        second_bits=event.second_bits,
        count=count,
    )
