"""A small web API in Chalice, as it would go to AWS: nothing in it knows Dayfly."""

import base64
import os

from chalice import AuthResponse, BadRequestError, Chalice, NotFoundError, Response
from chalicelib.shapes import shapes

app = Chalice(app_name="pets")
app.api.binary_types.append("image/gif")
app.register_blueprint(shapes, url_prefix="/shapes")

PETS = {"rex": {"kind": "dog", "age": 7}, "tom": {"kind": "cat", "age": 3}}
# The smallest picture there is: one transparent pixel.
PIXEL = base64.b64decode("R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==")


@app.route("/")
def index():
    return {"pets": sorted(PETS), "stage": os.environ.get("STAGE", "none")}


@app.route("/pets/{name}", cors=True)
def pet(name):
    if name not in PETS:
        raise NotFoundError(f"nobody is called {name}")
    fields = (app.current_request.query_params or {}).get("fields")
    return {field: PETS[name][field] for field in fields.split(",")} if fields else PETS[name]


@app.route("/pets", methods=["POST"], cors=True)
def add():
    pet = app.current_request.json_body
    if not isinstance(pet, dict) or "name" not in pet:
        raise BadRequestError("a pet needs a name")
    # Every call has an instance of its own: this is gone with the answer.
    PETS[pet["name"]] = pet
    return Response({"added": pet["name"], "pets": len(PETS)}, status_code=201, headers={"Location": f"/pets/{pet['name']}"})


@app.route("/picture.gif")
def picture():
    return Response(PIXEL, headers={"Content-Type": "image/gif"})


@app.route("/picture.gif", methods=["PUT"], content_types=["image/gif"])
def size_of_picture():
    return {"bytes": len(app.current_request.raw_body)}


@app.authorizer(ttl_seconds=60)
def keeper(request):
    if request.token == "let me in":
        return AuthResponse(routes=["/secret"], principal_id="keeper", context={"colour": "red"})
    return AuthResponse(routes=[], principal_id="stranger")


@app.route("/secret", authorizer=keeper)
def secret():
    return app.current_request.context["authorizer"]


@app.lambda_function(name="census")
def census(event, context):
    return {"pets": len(PETS), "asked": event}
