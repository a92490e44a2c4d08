"""The endpoints on Sanic."""

import contract
from sanic import Request, Sanic
from sanic.response import HTTPResponse, raw, text

UPLOAD_BYTES_MAX = 25 * 1024 * 1024

app = Sanic("endpoints", configure_logging=False)
app.config.update(
    ACCESS_LOG=False,
    KEEP_ALIVE_TIMEOUT=600,
    MOTD=False,
    REQUEST_MAX_SIZE=UPLOAD_BYTES_MAX,
    REQUEST_TIMEOUT=600,
)


def json(body: bytes) -> HTTPResponse:
    return raw(body, content_type="application/json")


@app.get("/plaintext")
async def plaintext(_: Request) -> HTTPResponse:
    return text(contract.PLAINTEXT)


@app.get("/pipeline")
async def pipeline(_: Request) -> HTTPResponse:
    return text(contract.PIPELINE)


@app.get("/json")
async def message(_: Request) -> HTTPResponse:
    return json(contract.message())


@app.get("/baseline11")
async def add(request: Request) -> HTTPResponse:
    return text(str(int(request.args.get("a")) + int(request.args.get("b"))))


@app.post("/baseline11")
async def add_body(request: Request) -> HTTPResponse:
    terms = (request.args.get("a"), request.args.get("b"), request.body)
    return text(str(sum(int(term) for term in terms)))


@app.get("/json/<count:int>")
async def items(request: Request, count: int) -> HTTPResponse:
    return json(contract.page(count, int(request.args.get("m", 1))))


@app.post("/upload", stream=True)
async def upload(request: Request) -> HTTPResponse:
    count = 0
    async for chunk in request.stream:
        count += len(chunk)
    return text(str(count))
