// Checks the transparency log of a store with Go's own packages for such logs. It shares no code with
// Vidimus.
//
//	tlog-go VKEY URL [OLDER-CHECKPOINT...]
//
// It verifies the newest checkpoint at URL with the verifier key, and then, with tiles that it
// authenticates against the checkpoint's root, that leaves are in the tree and that the trees of the
// older checkpoints are its beginning.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Tiles of this height are those of C2SP tlog-tiles.
const height = 8

// Not every leaf of a large log is checked: all of the first and of the last, and one in this many.
const (
	ends = 300
	step = 97
)

func main() {
	if len(os.Args) < 3 {
		fail(fmt.Errorf("usage: tlog-go VKEY URL [OLDER-CHECKPOINT...]"))
	}
	verifier, err := note.NewVerifier(os.Args[1])
	if err != nil {
		fail(err)
	}
	log := server(strings.TrimSuffix(os.Args[2], "/"))
	message, err := log.get("checkpoint")
	if err != nil {
		fail(err)
	}
	tree, err := open(message, verifier)
	if err != nil {
		fail(err)
	}
	// It compares every tile that it reads with the root.
	hashes := tlog.TileHashReader(tree, log)
	checked := 0
	for index := int64(0); index < tree.N; index++ {
		if index >= ends && index < tree.N-ends && index%step != 0 {
			continue
		}
		if err := checkLeaf(log, tree, hashes, index); err != nil {
			fail(fmt.Errorf("leaf %d: %v", index, err))
		}
		checked++
	}
	for _, path := range os.Args[3:] {
		message, err := os.ReadFile(path)
		if err == nil {
			err = checkOlder(message, verifier, tree, hashes)
		}
		if err != nil {
			fail(fmt.Errorf("%s: %v", path, err))
		}
	}
	fmt.Printf("%d leaves, %d proved, %d older checkpoints\n", tree.N, checked, len(os.Args)-3)
}

// checkLeaf proves that the record of a leaf is in the tree.
func checkLeaf(log server, tree tlog.Tree, hashes tlog.HashReader, index int64) error {
	record, err := log.record(index, tree.N)
	if err != nil {
		return err
	}
	proof, err := tlog.ProveRecord(tree.N, index, hashes)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(record))
}

// checkOlder proves that the tree of an older checkpoint is the beginning of the tree.
func checkOlder(message []byte, verifier note.Verifier, tree tlog.Tree, hashes tlog.HashReader) error {
	older, err := open(message, verifier)
	if err != nil {
		return err
	}
	proof, err := tlog.ProveTree(tree.N, older.N, hashes)
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, tree.N, tree.Hash, older.N, older.Hash)
}

// open verifies the signature of a checkpoint, and reads it: an origin, a size and a root.
func open(message []byte, verifier note.Verifier) (tlog.Tree, error) {
	signed, err := note.Open(message, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(signed.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("not a checkpoint of %s: %q", verifier.Name(), signed.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return tlog.Tree{}, fmt.Errorf("not a root: %q", lines[2])
	}
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], root)
	return tree, nil
}

// server is the URL of a log.
type server string

func (s server) get(path string) ([]byte, error) {
	answer, err := http.Get(string(s) + "/" + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, answer.Status, body)
	}
	return body, err
}

// record reads the record of a leaf from its entry bundle.
func (s server) record(index, size int64) ([]byte, error) {
	bundle := tlog.Tile{H: height, L: 0, N: index >> height, W: 1 << height}
	if last := size - bundle.N<<height; last < 1<<height {
		bundle.W = int(last)
	}
	data, err := s.get(strings.Replace(path(bundle), "tile/0/", "tile/entries/", 1))
	if err != nil {
		return nil, err
	}
	for at := int64(0); len(data) >= 2; at++ {
		length := 2 + int(binary.BigEndian.Uint16(data))
		if len(data) < length {
			break
		}
		if at == index&(1<<height-1) {
			return data[2:length], nil
		}
		data = data[length:]
	}
	return nil, fmt.Errorf("the bundle ends before the leaf")
}

// path is that of the C2SP specification, which leaves the height out.
func path(tile tlog.Tile) string {
	return strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
}

func (s server) Height() int { return height }

func (s server) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := s.get(path(tile))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (s server) SaveTiles([]tlog.Tile, [][]byte) {}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
