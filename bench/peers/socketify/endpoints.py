"""The endpoints on Socketify."""

import os

import contract
from socketify import App, AppListenOptions

app = App()


def text(response, body: str) -> None:
    response.write_header("Content-Type", "text/plain").end(body)


def json(response, body: bytes) -> None:
    response.write_header("Content-Type", "application/json").end(body)


def add(response, request) -> None:
    text(response, str(int(request.get_query("a")) + int(request.get_query("b"))))


async def add_body(response, request) -> None:
    # The request is gone after the first await.
    total = int(request.get_query("a")) + int(request.get_query("b"))
    body = await response.get_data()
    response.cork(lambda response: text(response, str(total + int(body.getvalue()))))


def items(response, request) -> None:
    multiplier = int(request.get_query("m") or 1)
    json(response, contract.page(int(request.get_parameter(0)), multiplier))


def upload(response, _) -> None:
    count = 0

    def take(response, chunk, is_last, *_) -> None:
        nonlocal count
        count += len(chunk) if chunk else 0
        if is_last:
            text(response, str(count))

    response.on_aborted(lambda *_: None)
    response.on_data(take)


app.get("/plaintext", lambda response, _: text(response, contract.PLAINTEXT))
app.get("/pipeline", lambda response, _: text(response, contract.PIPELINE))
app.get("/json", lambda response, _: json(response, contract.message()))
app.get("/baseline11", add)
app.post("/baseline11", add_body)
app.get("/json/:count", items)
app.post("/upload", upload)
app.listen(AppListenOptions(port=int(os.environ["PORT"]), host=os.environ["HOST"]))
app.run()
