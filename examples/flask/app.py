"""A reading room in Flask: poems to read, to search and to mark, and a desk that counts the words of your own text.

Nothing in it knows Dayfly: `flask run` serves it as well.
"""

import collections
import os
import re

from flask import Flask, Response, abort, flash, redirect, render_template, request, session, url_for
from poems import POEMS

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY", "for a desk at home")
VERSION = os.environ.get("VERSION", "1")


@app.context_processor
def everywhere():
    return {"version": VERSION, "marked": session.get("marked", [])}


@app.get("/")
def shelf():
    asked = request.args.get("q", "").strip()
    found = [poem for poem in POEMS.values() if asked.lower() in (poem.title + poem.text).lower()]
    return render_template("shelf.html", poems=found, asked=asked)


@app.get("/poems/<name>")
def poem(name):
    return render_template("poem.html", poem=POEMS.get(name) or abort(404))


@app.get("/poems/<name>.txt")
def text(name):
    """Line by line, as a generator: a server that streams sends it so, one that gathers sends it whole."""
    chosen = POEMS.get(name) or abort(404)
    return Response((line + "\n" for line in chosen.text.splitlines()), mimetype="text/plain")


@app.post("/poems/<name>/mark")
def mark(name):
    # The mark is in a signed cookie: the next request has another instance.
    session["marked"] = sorted({*session.get("marked", []), (POEMS.get(name) or abort(404)).name})
    flash("The page is marked.")
    return redirect(url_for("poem", name=name))


@app.post("/count")
def count():
    """The most frequent words of a file that comes along."""
    words = re.findall(r"\w+", request.files["text"].read().decode("utf-8", "replace").lower())
    return {"words": len(words), "most": collections.Counter(words).most_common(5), "version": VERSION}


@app.get("/version")
def version():
    return {"version": VERSION}
