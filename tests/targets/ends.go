// The same as ends.py, without a C library. Go sets keepalive itself, 15 s, unless it is configured otherwise.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	connection, err := net.Dial("tcp", "127.0.0.1:"+os.Args[1])
	must(err)
	go io.Copy(connection, connection)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		accepted, err := listener.Accept()
		must(err)
		go io.Copy(accepted, accepted)
	}
}
