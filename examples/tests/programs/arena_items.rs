//! The arena's items: made, read, replaced, deleted and listed, from connections on all shards.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::thread;

use simd_json::prelude::*;

use crate::support::{Client, Program, Response};

const LAMP: &str = r#"{"name":"Lamp","price":30}"#;

fn id(response: &Response) -> u64 {
    response.json().get_u64("id").unwrap()
}

fn check_problem(response: &Response, status: u16, field: Option<&str>) {
    assert_eq!(response.status, status, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    let problem = response.json();
    assert_eq!(problem.get_u16("status"), Some(status));
    assert_eq!(problem.get_str("field"), field, "{}", response.text());
    assert!(problem.get_str("detail").is_some_and(|detail| !detail.is_empty()));
}

#[test]
fn the_life_of_an_item() {
    let arena = Program::arena(&[]);
    let mut client = arena.connect();
    let full = concat!(
        r#"{"id":7,"name":"Lamp","category":"lighting","price":30,"quantity":2,"#,
        r#""active":false,"tags":["a","b"]}"#
    );
    let created = client.json("POST", "/items", full);
    assert_eq!((created.status, created.text()), (201, full));
    assert_eq!(created.header("location"), Some("/items/7"));
    assert_eq!(created.header("content-type"), Some("application/json"));
    check_problem(&client.json("POST", "/items", full), 409, Some("id"));

    let read = client.get("/items/7");
    assert_eq!((read.status, read.text()), (200, full));

    let replaced = client.json("PUT", "/items/7", r#"{"name":"Big lamp","price":31}"#);
    let expected = concat!(
        r#"{"id":7,"name":"Big lamp","category":"","price":31,"quantity":0,"#,
        r#""active":true,"tags":[]}"#
    );
    assert_eq!((replaced.status, replaced.text()), (200, expected));
    assert_eq!(client.get("/items/7").text(), expected);
    check_problem(
        &client.json("PUT", "/items/7", full.replace('7', "8").as_str()),
        422,
        Some("id"),
    );
    assert_eq!(client.get("/items/7").text(), expected);

    let removed = client.request("DELETE", "/items/7");
    assert_eq!((removed.status, removed.body.len()), (204, 0));
    check_problem(&client.get("/items/7"), 404, None);
    check_problem(&client.request("DELETE", "/items/7"), 404, None);
    check_problem(&client.json("PUT", "/items/7", LAMP), 404, None);
    assert_eq!(client.json("POST", "/items", full).status, 201);
}

#[test]
fn what_is_wrong_with_an_item_is_named() {
    let arena = Program::arena(&[]);
    let mut client = arena.connect();
    assert_eq!(client.json("POST", "/items", r#"{"id":1,"name":"Lamp","price":30}"#).status, 201);
    for (body, field) in [
        ("{}", "name"),
        (r#"{"name":"","price":1}"#, "name"),
        (r#"{"name":["Lamp"],"price":1}"#, "name"),
        (r#"{"name":"Lamp"}"#, "price"),
        (r#"{"name":"Lamp","price":-1}"#, "price"),
        (r#"{"name":"Lamp","price":"1"}"#, "price"),
        (r#"{"name":"Lamp","price":1.5}"#, "price"),
        (r#"{"name":"Lamp","price":1,"quantity":null}"#, "quantity"),
        (r#"{"name":"Lamp","price":1,"active":1}"#, "active"),
        (r#"{"name":"Lamp","price":1,"tags":"a"}"#, "tags"),
        (r#"{"name":"Lamp","price":1,"id":0}"#, "id"),
    ] {
        check_problem(&client.json("POST", "/items", body), 422, Some(field));
        check_problem(&client.json("PUT", "/items/1", body), 422, Some(field));
    }
    for body in ["", "{", r#"{"name":"Lamp","price":1"#, "\u{0}"] {
        check_problem(&client.json("POST", "/items", body), 400, None);
    }
    client.send("POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}");
    check_problem(&client.response(), 415, None);
    check_problem(&client.get("/items/x"), 400, Some("id"));
    check_problem(&client.get("/items/-1"), 400, Some("id"));
    check_problem(&client.get("/items/0"), 404, None);
    check_problem(&client.request("PATCH", "/items/1"), 405, None);
    check_problem(&client.get("/items?limit=0"), 400, Some("limit"));
    check_problem(&client.get("/items?limit=1001"), 400, Some("limit"));
    check_problem(&client.get("/items?after=x"), 400, Some("after"));
}

#[test]
fn every_shard_sees_the_items_of_all() {
    let arena = Program::arena(&[]);
    let shard_count = arena.shard_count() as u64;
    let (mut clients, mut ids) = (Vec::new(), BTreeSet::new());
    // A new id belongs to the shard of its connection: go on until each shard has one.
    let mut shards = BTreeSet::new();
    while shards.len() < shard_count as usize {
        assert!(clients.len() < 1000, "no connection gets to some of the shards");
        let mut client = arena.connect();
        let created = client.json("POST", "/items", LAMP);
        assert_eq!(created.status, 201);
        let id = id(&created);
        assert!(ids.insert(id), "the id {id} was given out twice");
        shards.insert(id % shard_count);
        clients.push(client);
    }
    for client in &mut clients {
        for id in &ids {
            assert_eq!(client.get(&format!("/items/{id}")).status, 200);
        }
    }
    let listed = |client: &mut Client| -> Vec<u64> {
        let list = client.get("/items?limit=1000").json();
        let items = list.get_array("items").unwrap();
        assert_eq!(list.get_usize("count"), Some(items.len()));
        items.iter().map(|item| item.get_u64("id").unwrap()).collect()
    };
    for client in &mut clients {
        assert_eq!(listed(client), Vec::from_iter(ids.iter().copied()));
    }
    // Each deletes an item that most likely is another shard's.
    let first = ids.pop_first().unwrap();
    let mut last = clients.pop().unwrap();
    assert_eq!(last.request("DELETE", &format!("/items/{first}")).status, 204);
    for client in &mut clients {
        assert_eq!(client.get(&format!("/items/{first}")).status, 404);
        assert_eq!(listed(client), Vec::from_iter(ids.iter().copied()));
    }
}

#[test]
fn pages_end_where_the_items_do() {
    let arena = Program::arena(&[]);
    let mut client = arena.connect();
    let list = client.get("/items");
    assert_eq!((list.status, list.text()), (200, r#"{"items":[],"count":0}"#));
    for id in (10..=250u64).step_by(10) {
        let body = format!(r#"{{"id":{id},"name":"Lamp","price":{id}}}"#);
        assert_eq!(client.json("POST", "/items", &body).status, 201);
    }
    for limit in [1, 7, 24, 25, 26] {
        let (mut after, mut ids) = (Some(0), Vec::new());
        while let Some(last) = after {
            let page = client.get(&format!("/items?after={last}&limit={limit}")).json();
            let items = page.get_array("items").unwrap();
            ids.extend(items.iter().map(|item| item.get_u64("id").unwrap()));
            after = page.get_u64("next");
            assert!(after.is_none() || items.len() == limit);
        }
        assert_eq!(ids, Vec::from_iter((10..=250).step_by(10)), "limit {limit}");
    }
}

#[test]
fn one_of_many_that_want_an_id_gets_it() {
    let arena = Program::arena(&[]);
    let address = arena.address();
    let barrier = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                let mut client = Client::connect(address);
                let create = |round| {
                    let body = format!(r#"{{"id":{round},"name":"Lamp","price":1}}"#);
                    barrier.wait();
                    client.json("POST", "/items", &body).status
                };
                (1..=50).map(create).collect::<Vec<u16>>()
            })
        })
        .collect();
    let statuses: Vec<Vec<u16>> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    for round in 0..50 {
        let mut round: Vec<u16> = statuses.iter().map(|statuses| statuses[round]).collect();
        round.sort_unstable();
        assert_eq!(round, [201, 409, 409, 409, 409, 409, 409, 409]);
    }
}
