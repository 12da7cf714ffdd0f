"""Routes in a blueprint."""

from chalice import Blueprint

shapes = Blueprint(__name__)


@shapes.route("/square/{side}")
def square(side):
    return {"area": int(side) ** 2}
