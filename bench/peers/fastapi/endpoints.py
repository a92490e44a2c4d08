"""The endpoints on FastAPI; responses are built directly, which spares its own encoder."""

import contract
from fastapi import FastAPI, Request, Response

app = FastAPI(openapi_url=None)


def text(body: str) -> Response:
    return Response(body, media_type="text/plain")


def json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


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
async def add(a: int, b: int) -> Response:
    return text(str(a + b))


@app.post("/baseline11")
async def add_body(a: int, b: int, request: Request) -> Response:
    return text(str(a + b + int(await request.body())))


@app.get("/json/{count}")
async def items(count: int, m: int = 1) -> Response:
    return json(contract.page(count, m))


@app.post("/upload")
async def upload(request: Request) -> Response:
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
    return text(str(count))
