"""A table of the planets in FastAPI: read, filtered, weighed, and streamed as CSV.

Nothing in it knows Dayfly: `uvicorn main:app` serves it as well.
"""

import contextlib
import csv
import io
import os
import pathlib
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

HERE = pathlib.Path(__file__).parent
VERSION = os.environ.get("VERSION", "1")


class Planet(BaseModel):
    name: str
    mass_kg: float = Field(gt=0)
    radius_km: float = Field(gt=0)
    moons: int = Field(ge=0)

    @property
    def gravity(self):
        """At the surface, m/s²."""
        return 6.674e-11 * self.mass_kg / (self.radius_km * 1000) ** 2


@contextlib.asynccontextmanager
async def lifespan(app):
    """Reads the table once, before the first request."""
    with open(HERE / "planets.csv", newline="") as file:
        table = {row["name"].lower(): Planet(**row) for row in csv.DictReader(file)}
    yield {"planets": table}


app = FastAPI(title="Planets", version=VERSION, lifespan=lifespan)
app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")


def planets(request: Request):
    return request.state.planets


Planets = Annotated[dict, Depends(planets)]


@app.get("/")
async def index(request: Request):
    return RedirectResponse(request.url_for("static", path="index.html"))


@app.get("/planets")
async def every(planets: Planets, moons: Annotated[int, Query(ge=0)] = 0) -> list[Planet]:
    return [planet for planet in planets.values() if planet.moons >= moons]


@app.get("/planets.csv")
async def table(planets: Planets):
    async def lines():
        for row in [Planet.model_fields, *(planet.model_dump().values() for planet in planets.values())]:
            line = io.StringIO()
            csv.writer(line).writerow(row)
            yield line.getvalue()

    return StreamingResponse(lines(), media_type="text/csv")


@app.get("/planets/{name}/weight")
def weight(name: str, planets: Planets, kg: Annotated[float, Query(gt=0)]):
    """Not a coroutine: it runs in a thread."""
    if name not in planets:
        raise HTTPException(404, f"there is no planet {name}")
    return {"planet": planets[name].name, "newton": round(kg * planets[name].gravity, 1)}


@app.post("/planets", status_code=201)
async def discover(planet: Planet, planets: Planets):
    # Gone with the answer: every request has an instance of its own, with the table as it was loaded.
    planets[planet.name.lower()] = planet
    return {"discovered": planet.name, "planets": len(planets)}


@app.get("/version")
async def version():
    return {"version": VERSION}
