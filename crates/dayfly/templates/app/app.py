"""Routes and a schedule. `dayfly deploy` reads here what to make."""

import dayfly

app = dayfly.App()


@app.get("/")
def index():
    return "<h1>Hello</h1>"


@app.get("/hello/{name}")
def hello(name):
    return {"hello": name, "greeting": app.request.query.get("greeting", "good day")}


@app.every("1 hour")
def tidy():
    print("an hour has gone by")
