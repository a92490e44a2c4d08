// Drives a server with Go's net/http: go run client.go URL. The first surprise ends it with status 1.
package main

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"time"
)

var content = bytes.Repeat([]byte("0123456789abcdef"), 65536)

// A client that waits for 100 where it was told to, instead of for a second at most.
var client = &http.Client{
	Timeout:   time.Minute,
	Transport: &http.Transport{ExpectContinueTimeout: time.Minute},
}

// Without a known type of reader, the client can not know the length.
func pieces() io.Reader { return io.MultiReader(bytes.NewReader(content)) }

func known() io.Reader { return bytes.NewReader(content) }

func none() io.Reader { return nil }

var exchanges = []struct {
	method, path string
	body         func() io.Reader
	field, value string
	status       int
	expected     string
}{
	{"GET", "/", none, "", "", 200, "ok"},
	{"GET", "/", none, "", "", 200, "ok"},
	{"HEAD", "/large", none, "", "", 200, ""},
	{"POST", "/echo", known, "", "", 200, string(content)},
	{"POST", "/echo", known, "Expect", "100-continue", 200, string(content)},
	{"POST", "/echo", pieces, "", "", 200, string(content)},
	{"POST", "/echo", pieces, "Expect", "100-continue", 200, string(content)},
	{"POST", "/echo", none, "", "", 200, ""},
	{"GET", "/large", none, "", "", 200, strings.Repeat("x", 1<<20)},
	{"GET", "/stream", none, "", "", 200, strings.Repeat("piece ", 100)},
	{"POST", "/form", form, "Content-Type", "multipart/form-data; boundary=edge", 200,
		"k: 3, f (a b.bin, application/octet-stream): 1048576"},
	{"POST", "/none", known, "Expect", "100-continue", 404, "?"},
	{"GET", "/none", none, "", "", 404, "?"},
	{"GET", "/", none, "", "", 200, "ok"},
}

func form() io.Reader {
	var buffer bytes.Buffer
	writer := multipart.NewWriter(&buffer)
	check(writer.SetBoundary("edge"))
	check(writer.WriteField("k", "v w"))
	file, err := writer.CreateFormFile("f", "a b.bin")
	check(err)
	_, err = file.Write(content)
	check(err)
	check(writer.Close())
	return &buffer
}

func main() {
	for _, exchange := range exchanges {
		request, err := http.NewRequest(exchange.method, os.Args[1]+exchange.path, exchange.body())
		check(err)
		if exchange.field != "" {
			request.Header.Set(exchange.field, exchange.value)
		}
		response, err := client.Do(request)
		check(err)
		body, err := io.ReadAll(response.Body)
		check(err)
		isRight := exchange.expected == "?" || string(body) == exchange.expected
		if response.StatusCode != exchange.status || !isRight {
			fail(exchange.method, exchange.path, response.StatusCode, len(body), "bytes")
		}
	}
}

func check(err error) {
	if err != nil {
		fail(err)
	}
}

func fail(what ...any) {
	fmt.Fprintln(os.Stderr, what...)
	os.Exit(1)
}
