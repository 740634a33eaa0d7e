"""The remark about a network that has learned little, in one sentence."""

from phinas.experiment.artifacts.learning_problem import LearningProblem
from phinas.reports.sentences.rendering import render


def describe_learning_problem(problem: LearningProblem | None, *, of_fit: bool) -> str:
    """Say what shows that a network has learned little, and what to do.

    Args:
        problem: The facts; None where there is no problem.
        of_fit: Whether the images are the test images of the training.

    Returns:
        One or two sentences; "" without a problem.
    """
    if problem is None:
        return ""
    return render("learning_problem", "remark", problem=problem, of_fit=of_fit)
