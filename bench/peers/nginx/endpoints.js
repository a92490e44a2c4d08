// What needs computing, in nginx's own JavaScript.

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

export default { message, add };
