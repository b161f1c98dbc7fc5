"""The content of the scoring server's answers: predictions with names, and errors.

MLflow's clients read `predictions`; the other fields name the numbers. The classes are the server's
published schema, too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import numpy as np
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from sidebyside.config.dataset import Dataset
from sidebyside.serving.picture import Picture

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # [N, *shape] → [N, classes]


class Content(BaseModel):
    """JSON content; a number that is not finite is an error."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")


class RegisteredModel(Content):
    """The model that predicts, as MLflow's registry names it."""

    name: str = Field(description="name of the registered model", examples=["fashion-mnist-cnn"])
    version: str = Field(description="its version", examples=["3"])
    dataset: str = Field(description="its data set", examples=["fashion-mnist"])


class Prediction(Content):
    """The prediction for an image."""

    class_name: str = Field(description="the most probable class")
    probability: float = Field(description="its probability")
    probabilities: dict[str, float] = Field(
        description="class name → probability, in the order of the classes"
    )


class Answer(Content):
    """The predictions for the images of a request, in their order."""

    predictions: list[list[float]] = Field(
        description="class probabilities, [images, classes], as MLflow's server returns them"
    )
    images: list[Prediction] = Field(description="the same with names")
    model: RegisteredModel


class PreparedPicture(Content):
    """A picture as it was shown to the model."""

    pixels: list[list[int | list[int]]] = Field(
        description="rows of pixels; in colour, a pixel is a list of red, green and blue"
    )
    steps: list[str] = Field(description="steps of the preparation")


class PictureAnswer(Answer):
    """The prediction for a picture, and the picture as it was shown to the model."""

    picture: PreparedPicture


class Error(Content):
    """The reason why a request was refused or failed, in MLflow's form."""

    error_code: str = Field(description="name of the status", examples=["BAD_REQUEST"])
    message: str = Field(description="the reason, in one line")


@dataclass(frozen=True)
class Classifier:
    """A registered model that predicts."""

    predict: Predict
    dataset: Dataset
    registered: RegisteredModel

    def classify(self, images: NDArray[np.uint8]) -> Answer:
        """Return the predictions for images, [N, *shape].

        Raises:
            pydantic.ValidationError: a probability is not finite.
        """
        probabilities = self.predict(images)
        # The shortest decimals that stand for these float32 values halve the size of an answer.
        rows = probabilities.astype(str).astype(float).tolist()
        names = self.dataset.class_names
        predicted = [
            Prediction(
                class_name=names[best],
                probability=row[best],
                probabilities=dict(zip(names, row, strict=True)),
            )
            for row, best in zip(rows, probabilities.argmax(axis=1).tolist(), strict=True)
        ]
        return Answer(predictions=rows, images=predicted, model=self.registered)

    def classify_picture(self, picture: Picture) -> PictureAnswer:
        """Return the prediction for a prepared picture; raises as `classify`."""
        shown = PreparedPicture(pixels=picture.pixels.tolist(), steps=list(picture.steps))
        return PictureAnswer(**dict(self.classify(picture.pixels[None])), picture=shown)


def error_response(
    status: int, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return the answer to a request that is refused or failed."""
    error = Error(error_code=HTTPStatus(status).name, message=message)
    return JSONResponse(error.model_dump(), status, headers)
