// The endpoints on Fastify: response schemas, no logger.
import { readFileSync } from 'node:fs';
import fastify from 'fastify';

const [address, datasetPath] = process.argv.slice(2);
const [host, port] = address.split(':');
const dataset = JSON.parse(readFileSync(datasetPath, 'utf8'));

const app = fastify({
    bodyLimit: 25 * 1024 * 1024,
    keepAliveTimeout: 600_000,
    logger: false,
    requestTimeout: 0,
});

// A schema compiles a serialiser, which is how Fastify is meant to be used.
const integer = { type: 'integer' };
const string = { type: 'string' };
const object = (properties) => ({ type: 'object', properties });
const item = object({
    id: integer,
    name: string,
    category: string,
    price: integer,
    quantity: integer,
    active: { type: 'boolean' },
    tags: { type: 'array', items: string },
    rating: object({ score: integer, count: integer }),
    total: integer,
});
const answering = (schema) => ({ schema: { response: { 200: schema } } });
const messages = answering(object({ message: string }));
const pages = answering(object({ items: { type: 'array', items: item }, count: integer }));

const sum = (query) => Number(query.a) + Number(query.b);
const text = (reply, body) => reply.header('content-type', 'text/plain').send(body);

app.addContentTypeParser('application/octet-stream', (request, payload, done) => {
    done(null, payload);
});

app.get('/plaintext', (request, reply) => text(reply, 'Hello, World!'));
app.get('/pipeline', (request, reply) => text(reply, 'ok'));
app.get('/json', messages, (request, reply) => reply.send({ message: 'Hello, World!' }));
app.get('/baseline11', (request, reply) => text(reply, String(sum(request.query))));
app.post('/baseline11', (request, reply) => {
    text(reply, String(sum(request.query) + Number(request.body)));
});
app.get('/json/:count', pages, (request, reply) => {
    const count = Math.min(Number(request.params.count), dataset.length);
    const multiplier = Number(request.query.m ?? 1);
    const items = dataset.slice(0, count).map((one) => ({
        ...one,
        total: one.price * one.quantity * multiplier,
    }));
    reply.send({ items, count });
});
app.post('/upload', async (request, reply) => {
    let count = 0;
    for await (const chunk of request.body) {
        count += chunk.length;
    }
    text(reply, String(count));
    return reply;
});

await app.listen({ host, port: Number(port), backlog: 4096 });
