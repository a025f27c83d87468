"""Objects of the server's answers, for its OpenAPI document. ``HeadPose.to_dict`` makes the real ones."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Face(BaseModel):
    """One face, as ``headpose estimate --json`` writes it."""

    model_config = ConfigDict(extra="allow")

    track: int | None = Field(description="track number; null for pictures")
    box: list[float] = Field(min_length=4, max_length=4, description="tight box x1, y1, x2, y2 in pixels")
    score: float = Field(ge=0, le=1, description="confidence of the detector")
    yaw: float = Field(description="degrees; positive: the nose points to the left side of the picture")
    pitch: float = Field(description="degrees; positive: up")
    roll: float = Field(description="degrees; positive: tilted clockwise on the screen")
    azimuth: float = Field(description="direction of the nose in degrees; positive: to the left side of the picture")
    elevation: float = Field(description="direction of the nose in degrees; positive: up")
    tilt: float = Field(description="rotation about the axis of the nose in degrees; positive: clockwise")
    rotation: list[list[float]] = Field(description="3x3 rotation from head to camera axes, row by row")
    uncertainty: float | None = Field(description="expected error in degrees; null if the network does not tell")
    readable: float | None = Field(description="probability of a readable face; null if the network does not tell")
    reliable: bool = Field(description="false if readable is below the least confidence")
    quality: dict[str, int] = Field(description="pose terms of ISO/IEC 29794-5 for yaw, pitch and roll, 0 to 100")


class Result(BaseModel):
    """Faces of a picture, highest score first."""

    model: str
    width: int = Field(description="of the upright picture, pixels")
    height: int
    faces: list[Face]


class Network(BaseModel):
    """A network that requests may use."""

    name: str
    default: bool
    license: str = Field(description="permissive, research-only or unknown")
    bytes: int | None
    metrics: dict[str, float] = Field(description="measured errors in degrees")


class Networks(BaseModel):
    """The networks of this server."""

    models: list[Network]


class Health(BaseModel):
    """State of the server."""

    status: str


class Problem(BaseModel):
    """Reason for a refusal."""

    detail: str
