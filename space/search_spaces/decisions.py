"""The decisions of a search space: which field of a network each changes, and to which values."""

from dataclasses import dataclass
from functools import lru_cache

from phinas.space.spec import SpecError

Value = int | float | bool | str
Choices = dict[str, Value]  # the value of each decision, by its name

LAYER_FIELDS = ("block", "kernel", "expansion", "se", "width", "skip", "activation")
STAGE_FIELDS = (*LAYER_FIELDS, "depth")
GLOBAL_FIELDS = ("stem_width", "head_width", "resolution")


@dataclass(frozen=True, slots=True)
class Decision:
    """One field of the network and the values that it may take: at least one, all distinct.

    Raises:
        SpecError: there are no values, a value occurs twice, or a value has another type.
    """

    name: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise SpecError(f"{self.name}: has no values; list at least one")
        for value in self.values:
            if not isinstance(value, int | float | str):
                raise SpecError(f"{self.name}: {value!r} is not a number, a word or true/false")
        if len(set(self.values)) < len(self.values):
            raise SpecError(
                f"{self.name}: {list(self.values)} lists a value twice; list each value once"
            )


@dataclass(frozen=True, slots=True)
class FieldPath:
    """The field that a decision changes.

    Attributes:
        stage: index of the stage, None: the whole network.
        layer: index of the layer in the stage, None: all its layers.
        field: name of the field.
    """

    stage: int | None
    layer: int | None
    field: str


@lru_cache(maxsize=1 << 12)
def parse_field_path(name: str) -> FieldPath:
    """Parse `stages.I.FIELD`, `stages.I.layers.J.FIELD` or `FIELD`.

    Raises:
        SpecError: the name has another form.
    """
    match name.split("."):
        case ["stages", stage, field] if stage.isdecimal() and field in STAGE_FIELDS:
            return FieldPath(int(stage), None, field)
        case ["stages", stage, "layers", layer, field] if (
            stage.isdecimal() and layer.isdecimal() and field in LAYER_FIELDS
        ):
            return FieldPath(int(stage), int(layer), field)
        case [field] if field in GLOBAL_FIELDS:
            return FieldPath(None, None, field)
    raise SpecError(
        f"{name}: cannot be searched; write stages.I.FIELD ({', '.join(STAGE_FIELDS)}), "
        f"stages.I.layers.J.FIELD or one of {', '.join(GLOBAL_FIELDS)}"
    )
