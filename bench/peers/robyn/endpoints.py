"""The endpoints on Robyn."""

import contract
from robyn import Request, Response, Robyn

app = Robyn(__file__)
TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}


def text(body: str) -> Response:
    return Response(status_code=200, headers=TEXT, description=body)


def json(body: bytes) -> Response:
    return Response(status_code=200, headers=JSON, description=body)


@app.get("/plaintext")
async def plaintext() -> Response:
    return text(contract.PLAINTEXT)


@app.get("/pipeline")
async def pipeline() -> Response:
    return text(contract.PIPELINE)


@app.get("/json")
async def message() -> Response:
    return json(contract.message())


@app.get("/baseline11")
async def add(request: Request) -> Response:
    query = request.query_params
    return text(str(int(query.get("a", "0")) + int(query.get("b", "0"))))


@app.post("/baseline11")
async def add_body(request: Request) -> Response:
    query = request.query_params
    return text(str(int(query.get("a", "0")) + int(query.get("b", "0")) + int(request.body)))


@app.get("/json/:count")
async def items(request: Request) -> Response:
    multiplier = int(request.query_params.get("m", "1"))
    return json(contract.page(int(request.path_params["count"]), multiplier))


if __name__ == "__main__":
    import os

    app.start(host=os.environ["HOST"], port=int(os.environ["PORT"]))
