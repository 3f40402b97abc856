// Keeps the key of a witness for litewitness of torchwood, which asks an ssh-agent for its signatures.
//
//	torchwood SOCKET SEED
//
// It listens on a Unix socket until it is killed. SEED is the secret of an Ed25519 key, 32 bytes in
// hexadecimal. It prints the fingerprint of the key when it listens.
package main

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"log"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: torchwood SOCKET SEED")
	}
	seed, err := hex.DecodeString(os.Args[2])
	if err != nil || len(seed) != ed25519.SeedSize {
		log.Fatalf("found the seed %q, expected 32 bytes in hexadecimal", os.Args[2])
	}
	key := ed25519.NewKeyFromSeed(seed)
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		log.Fatal(err)
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ssh.FingerprintSHA256(public))
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		// It ends when litewitness does.
		go agent.ServeAgent(keys, conn)
	}
}
