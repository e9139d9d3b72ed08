// Go's net/http against an edge. Arguments: cleartext URL, TLS URL, CA file.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync"
	"time"
)

func check(holds bool, what string, values ...interface{}) {
	if !holds {
		fmt.Fprintln(os.Stderr, append([]interface{}{"failed:", what}, values...)...)
		os.Exit(1)
	}
}

func ask(client *http.Client, method, url string, body io.Reader, expect bool) (*http.Response, []byte) {
	request, err := http.NewRequest(method, url, body)
	check(err == nil, "request", err)
	if expect {
		request.Header.Set("Expect", "100-continue")
	}
	response, err := client.Do(request)
	check(err == nil, method+" "+url, err)
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	check(err == nil, "body of "+url, err)
	return response, all
}

func judge(base string, roots *x509.CertPool, http2 bool) {
	transport := &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2:     http2,
		MaxConnsPerHost:       4,
		ExpectContinueTimeout: 10 * time.Second,
	}
	if !http2 {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	client := &http.Client{Transport: transport, Timeout: 120 * time.Second}
	mebibyte := bytes.Repeat([]byte("m"), 1<<20)
	want := 1
	if http2 {
		want = 2
	}
	response, body := ask(client, "GET", base+"/page", nil, false)
	check(response.ProtoMajor == want && string(body) == "origin eu\n", "page", response.Proto, string(body))
	_, body = ask(client, "POST", base+"/echo", bytes.NewReader(mebibyte), false)
	check(bytes.Equal(body, mebibyte), "echo with a length")
	_, body = ask(client, "POST", base+"/echo", io.MultiReader(bytes.NewReader(mebibyte), bytes.NewReader(mebibyte)), false)
	check(len(body) == 2<<20, "echo in chunks", len(body))
	_, body = ask(client, "POST", base+"/echo", bytes.NewReader(mebibyte), true)
	check(bytes.Equal(body, mebibyte), "echo after 100 Continue")
	response, _ = ask(client, "GET", base+"/status/410", nil, false)
	check(response.StatusCode == 410, "status", response.StatusCode)
	response, body = ask(client, "HEAD", base+"/", nil, false)
	check(response.StatusCode == 200 && len(body) == 0, "head")
	_, body = ask(client, "GET", base+"/chunked", nil, false)
	check(string(body) == "origin eu\n", "chunked", string(body))

	var together sync.WaitGroup
	var lock sync.Mutex
	fresh := 0
	for worker := 0; worker < 8; worker++ {
		together.Add(1)
		go func(worker int) {
			defer together.Done()
			for n := 0; n < 50; n++ {
				request, _ := http.NewRequest("GET", fmt.Sprintf("%s/page?w=%d&n=%d", base, worker, n), nil)
				trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
					if !info.Reused {
						lock.Lock()
						fresh++
						lock.Unlock()
					}
				}}
				response, err := client.Do(request.WithContext(httptrace.WithClientTrace(request.Context(), trace)))
				check(err == nil, "parallel", err)
				all, err := io.ReadAll(response.Body)
				response.Body.Close()
				check(err == nil && string(all) == "origin eu\n", "parallel body", err)
			}
		}(worker)
	}
	together.Wait()
	check(fresh <= 4, "connections are kept", fresh)
}

func main() {
	clear, secure, authority := os.Args[1], os.Args[2], os.Args[3]
	pem, err := os.ReadFile(authority)
	check(err == nil, "authority", err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	judge(clear, roots, false)
	fmt.Println("passed: net/http")
	judge(secure, roots, false)
	fmt.Println("passed: net/http over TLS")
	judge(secure, roots, true)
	fmt.Println("passed: net/http, HTTP/2")
}
