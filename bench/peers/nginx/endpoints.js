// What needs computing, in nginx's own JavaScript.
import fs from 'fs';

const dataset = JSON.parse(fs.readFileSync('@DATASET@'));

function message(r) {
    r.headersOut['Content-Type'] = 'application/json';
    r.return(200, JSON.stringify({ message: 'Hello, World!' }));
}

function add(r) {
    let sum = Number(r.args.a) + Number(r.args.b);
    if (r.method === 'POST') {
        sum += Number(r.requestText);
    }
    r.return(200, String(sum));
}

function items(r) {
    const count = Math.min(Number(r.uri.slice('/json/'.length)), dataset.length);
    const multiplier = Number(r.args.m);
    const items = [];
    for (let index = 0; index < count; index++) {
        const item = dataset[index];
        items.push({
            id: item.id,
            name: item.name,
            category: item.category,
            price: item.price,
            quantity: item.quantity,
            active: item.active,
            tags: item.tags,
            rating: item.rating,
            total: item.price * item.quantity * multiplier,
        });
    }
    r.headersOut['Content-Type'] = 'application/json';
    r.return(200, JSON.stringify({ items: items, count: count }));
}

export default { message, add, items };
