// Drives a server with Node's fetch: node client.mjs URL. The first surprise ends it with status 1.

const url = process.argv[2];
const body = Buffer.alloc(1 << 20, "0123456789abcdef");

const pieces = () =>
    new ReadableStream({
        start(controller) {
            for (let start = 0; start < body.length; start += 50_000) {
                controller.enqueue(body.subarray(start, start + 50_000));
            }
            controller.close();
        },
    });

// Method, path, body, status, content.
const exchanges = [
    ["GET", "/", undefined, 200, "ok"],
    ["GET", "/", undefined, 200, "ok"],
    ["HEAD", "/large", undefined, 200, ""],
    ["POST", "/echo", body, 200, body],
    ["POST", "/echo", pieces(), 200, body],
    ["GET", "/large", undefined, 200, Buffer.alloc(1 << 20, "x")],
    ["GET", "/stream", undefined, 200, "piece ".repeat(100)],
    ["GET", "/none", undefined, 404, undefined],
    ["GET", "/", undefined, 200, "ok"],
];

for (const [method, path, sent, status, expected] of exchanges) {
    const response = await fetch(url + path, { method, body: sent, duplex: "half" });
    const content = Buffer.from(await response.arrayBuffer());
    const isRight = expected === undefined || content.equals(Buffer.from(expected));
    if (response.status !== status || !isRight) {
        console.error(`${method} ${path}: ${response.status}, ${content.length} bytes`);
        process.exit(1);
    }
}
