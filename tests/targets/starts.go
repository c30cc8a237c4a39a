// Starts the program that its arguments name, and waits for it.
package main

import (
	"os"
	"os/exec"
)

func main() {
	command := exec.Command(os.Args[1], os.Args[2:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	if command.Run() != nil {
		os.Exit(1)
	}
}
