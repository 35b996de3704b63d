// Checks checkpoints and proofs of pg_runbook with another implementation: Go's golang.org/x/mod/sumdb.
package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func fail(format string, arguments ...interface{}) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(1)
}

func read(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		fail("%v", err)
	}
	return string(text)
}

func hash(text string) tlog.Hash {
	bytes, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(bytes) != tlog.HashSize {
		fail("%q is no hash", text)
	}
	var result tlog.Hash
	copy(result[:], bytes)
	return result
}

// checkpoint opens a note with a key and returns the tree that it speaks of.
func checkpoint(text string, verifier note.Verifier) tlog.Tree {
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		fail("note: %v", err)
	}
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		fail("size: %v", err)
	}
	return tlog.Tree{N: size, Hash: hash(lines[2])}
}

// Arguments: the key, a proof of an entry, an older and a newer checkpoint, and the hashes of the proof of consistency, one a line.
func main() {
	verifier, err := note.NewVerifier(strings.TrimSpace(read(os.Args[1])))
	if err != nil {
		fail("key: %v", err)
	}
	parts := strings.SplitN(read(os.Args[2]), "\n\n", 2)
	lines := strings.Split(parts[0], "\n")
	payload, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		fail("entry: %v", err)
	}
	position, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		fail("position: %v", err)
	}
	var record tlog.RecordProof
	for _, line := range lines[3:] {
		record = append(record, hash(line))
	}
	tree := checkpoint(parts[1], verifier)
	if err := tlog.CheckRecord(record, tree.N, tree.Hash, position, tlog.RecordHash(payload)); err != nil {
		fail("inclusion: %v", err)
	}
	older, newer := checkpoint(read(os.Args[3]), verifier), checkpoint(read(os.Args[4]), verifier)
	var consistency tlog.TreeProof
	for _, line := range strings.Fields(read(os.Args[5])) {
		consistency = append(consistency, hash(line))
	}
	if err := tlog.CheckTree(consistency, newer.N, newer.Hash, older.N, older.Hash); err != nil {
		fail("consistency: %v", err)
	}
	fmt.Printf("entry %d of %d, tree %d of %d\n", position, tree.N, older.N, newer.N)
}
