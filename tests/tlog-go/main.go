// Checks the transparency log of a store with Go's own packages for such logs. It shares no code with
// Vidimus.
//
//	tlog-go VKEY URL [OLDER-CHECKPOINT...]
//	tlog-go VKEY FOLDER
//
// With a URL, it verifies the newest checkpoint at URL with the verifier key, and then, with tiles that it
// authenticates against the checkpoint's root, that leaves are in the tree and that the trees of the
// older checkpoints are its beginning.
//
// With a folder, it verifies the proofs of all entries in an evidence bundle.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
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
		fail(fmt.Errorf("usage: tlog-go VKEY URL [OLDER-CHECKPOINT...], or tlog-go VKEY FOLDER"))
	}
	verifier, err := note.NewVerifier(os.Args[1])
	if err != nil {
		fail(err)
	}
	if !strings.HasPrefix(os.Args[2], "http") {
		checkBundle(os.Args[2], verifier)
		return
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

// checkBundle verifies the proofs of the entries in a bundle.
func checkBundle(folder string, verifier note.Verifier) {
	entries, err := filepath.Glob(filepath.Join(folder, "entries", "*"))
	if err != nil {
		fail(err)
	}
	var size int64
	for _, entry := range entries {
		if size, err = checkProof(entry, verifier); err != nil {
			fail(fmt.Errorf("%s: %v", entry, err))
		}
	}
	fmt.Printf("%d leaves, %d proved\n", size, len(entries))
}

// checkProof verifies that the leaf of an entry is in the tree of the checkpoint in its proof (C2SP
// tlog-proof). It returns the size of the tree.
func checkProof(entry string, verifier note.Verifier) (int64, error) {
	leaf, err := os.ReadFile(filepath.Join(entry, "leaf"))
	if err != nil {
		return 0, err
	}
	proof, err := os.ReadFile(filepath.Join(entry, "proof.tlog-proof"))
	if err != nil {
		return 0, err
	}
	head, message, _ := strings.Cut(string(proof), "\n\n")
	lines := strings.Split(head, "\n")
	if len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(lines[1], "index ") {
		return 0, fmt.Errorf("not a proof: %q", head)
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return 0, err
	}
	var hashes tlog.RecordProof
	for _, line := range lines[2:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return 0, err
		}
		hashes = append(hashes, hash)
	}
	tree, err := open([]byte(message), verifier)
	if err != nil {
		return 0, err
	}
	return tree.N, tlog.CheckRecord(hashes, tree.N, tree.Hash, index, tlog.RecordHash(leaf))
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
