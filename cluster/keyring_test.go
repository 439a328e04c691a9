package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/cluster/transport"
)

func testKey(b byte) transport.Key { return transport.Key{0: b, 31: 1} }

func ringOf(generation uint64, keys ...byte) keyRing {
	r := keyRing{generation: generation}
	for _, k := range keys {
		r.keys = append(r.keys, testKey(k))
	}
	return r
}

func TestKeyRing_file(t *testing.T) {
	t.Parallel()
	for _, r := range []keyRing{ringOf(1, 1), ringOf(7, 2, 1), ringOf(1<<63, 1, 2, 3, 4)} {
		got, err := decodeRing(r.encode())
		if err != nil || got.name().compare(r.name()) != 0 || !slices.Equal(got.keys, r.keys) {
			t.Errorf("decodeRing(encode(%v)) = %v, %v", r.name(), got.name(), err)
		}
		// It is a key file as well.
		if keys, err := transport.ParseKeys(r.encode()); err != nil || !slices.Equal(keys, r.keys) {
			t.Errorf("ParseKeys(encode(%v)) = %d keys, %v", r.name(), len(keys), err)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "no generation": testKey(1).String(), "generation 0": generationMark + "0\n" + testKey(1).String(),
		"odd generation": generationMark + "x\n" + testKey(1).String(), "no key": generationMark + "1\n",
	} {
		if _, err := decodeRing([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzDecodeRing(f *testing.F) {
	f.Add(ringOf(3, 1, 2).encode())
	f.Add([]byte(generationMark + "18446744073709551616\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRing(b)
		if err != nil {
			return
		}
		again, err := decodeRing(r.encode())
		if err != nil || again.name().compare(r.name()) != 0 || !slices.Equal(again.keys, r.keys) {
			t.Errorf("decodeRing(encode(%v)) = %v, %v", r.name(), again.name(), err)
		}
	})
}

func TestRingName_outdates(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b keyRing
		want bool
	}{
		{ringOf(0, 1, 2), ringOf(0, 1), false}, // key files are the operators' business
		{ringOf(1, 1), ringOf(0, 1, 2), true},
		{ringOf(2, 1), ringOf(1, 1, 2), true},
		{ringOf(1, 1, 2), ringOf(2, 1), false},
		{ringOf(2, 1), ringOf(2, 1), false},
	} {
		if got := tc.a.name().outdates(tc.b.name()); got != tc.want {
			t.Errorf("%v.outdates(%v) = %v, want %v", tc.a.name(), tc.b.name(), got, tc.want)
		}
	}
	a, b := ringOf(2, 1, 2).name(), ringOf(2, 2, 1).name()
	if a.outdates(b) == b.outdates(a) {
		t.Error("two rings of one generation must have an order")
	}
}

func TestNextRing(t *testing.T) {
	t.Parallel()
	id := func(b byte) string { return testKey(b).Fingerprint() }
	all := func(r keyRing) map[string]ringName { return map[string]ringName{"a": r.name(), "b": r.name()} }
	two := ringOf(3, 1, 2)
	for _, tc := range []struct {
		name   string
		ring   keyRing
		req    keyRequest
		held   map[string]ringName
		silent []string
		want   keyRing
		err    error
		says   string
	}{
		{"install", ringOf(0, 1), keyRequest{Op: keyInstall, Key: testKey(2).String()}, all(ringOf(0, 1)), nil, ringOf(1, 1, 2), nil, ""},
		{"install with a member down", ringOf(0, 1), keyRequest{Op: keyInstall, Key: testKey(2).String()}, all(ringOf(0, 1)), []string{"c"}, ringOf(1, 1, 2), nil, ""},
		{"install again", two, keyRequest{Op: keyInstall, Key: testKey(2).String()}, all(two), nil, two, nil, ""},
		{"install the key file's own", ringOf(0, 1, 2), keyRequest{Op: keyInstall, Key: testKey(2).String()}, all(ringOf(0, 1, 2)), nil, ringOf(1, 1, 2), nil, ""},
		{"install nonsense", two, keyRequest{Op: keyInstall, Key: "c2VjcmV0"}, all(two), nil, two, ErrBadKey, "lbnode keygen"},
		{"install a fifth", ringOf(1, 1, 2, 3, 4), keyRequest{Op: keyInstall, Key: testKey(5).String()}, all(ringOf(1, 1, 2, 3, 4)), nil, ringOf(1, 1, 2, 3, 4), ErrNotSafe, "remove one"},
		{
			"install over different key files", ringOf(0, 1),
			keyRequest{Op: keyInstall, Key: testKey(2).String()},
			map[string]ringName{"a": ringOf(0, 1).name(), "b": ringOf(0, 1, 9).name()},
			nil, ringOf(0, 1), ErrNotSafe, "b accepts key " + id(9),
		},
		{"use", two, keyRequest{Op: keyUse, ID: id(2)}, all(two), nil, ringOf(4, 2, 1), nil, ""},
		{"use what is not there", two, keyRequest{Op: keyUse, ID: "0badc0de"}, all(two), nil, two, ErrUnknownKey, id(1)},
		{
			"use before all accept it", two,
			keyRequest{Op: keyUse, ID: id(2), Force: true},
			map[string]ringName{"a": two.name(), "b": ringOf(2, 1).name()},
			nil, two, ErrNotSafe, "b does not accept key " + id(2),
		},
		{"use with a member down", two, keyRequest{Op: keyUse, ID: id(2)}, all(two), []string{"c"}, two, ErrNotSafe, "c does not answer"},
		{"use with a member down, forced", two, keyRequest{Op: keyUse, ID: id(2), Force: true}, all(two), []string{"c"}, ringOf(4, 2, 1), nil, ""},
		{"remove", two, keyRequest{Op: keyRemove, ID: id(2)}, all(two), nil, ringOf(4, 1), nil, ""},
		{"remove what is not there", two, keyRequest{Op: keyRemove, ID: ""}, all(two), nil, two, ErrUnknownKey, id(2)},
		{"remove the one in use", two, keyRequest{Op: keyRemove, ID: id(1), Force: true}, all(two), nil, two, ErrNotSafe, "in use"},
		{
			"remove while a member uses it", ringOf(4, 2, 1),
			keyRequest{Op: keyRemove, ID: id(1)},
			map[string]ringName{"a": ringOf(4, 2, 1).name(), "b": two.name()},
			nil, ringOf(4, 2, 1), ErrNotSafe, "b is not known to use key " + id(2),
		},
		{"remove with a member down", two, keyRequest{Op: keyRemove, ID: id(2)}, all(two), []string{"c"}, two, ErrNotSafe, "c is not known"},
		{"remove with a member down, forced", two, keyRequest{Op: keyRemove, ID: id(2), Force: true}, all(two), []string{"c"}, ringOf(4, 1), nil, ""},
		{"something newer", two, keyRequest{Op: "split"}, all(two), nil, two, ErrNotSafe, "upgrade"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, _, err := nextRing(tc.ring, tc.req, tc.held, tc.silent)
			if !errors.Is(err, tc.err) || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("error %v, want %v that says %q", err, tc.err, tc.says)
			}
			if diff := cmp.Diff(tc.want.name(), got.name()); diff != "" {
				t.Errorf("ring (-want +got):\n%s", diff)
			}
			if err != nil && strings.Contains(err.Error(), tc.ring.keys[0].String()) {
				t.Errorf("the error shows a key: %v", err)
			}
		})
	}
}

// withKeys starts a node with a key file of these keys.
func withKeys(t *testing.T, id string, keys []transport.Key, by ...*member) *member {
	t.Helper()
	cfg := testConfig(t, id)
	cfg.Keys = keys
	for _, m := range by {
		cfg.Join = append(cfg.Join, m.Advertise())
	}
	return start(t, cfg)
}

// rotated waits until a node has the ring.
func (m *member) rotated(generation uint64, inUse string) {
	m.t.Helper()
	eventually(m.t, m.ID()+" has the newest keys", func() bool {
		r := m.keys.get()
		return r.generation == generation && r.ids()[0] == inUse
	})
}

func TestRotation(t *testing.T) {
	t.Parallel()
	old := testKey(1)
	a := withKeys(t, "a", []transport.Key{old})
	a.waitJoined()
	b, c := withKeys(t, "b", []transport.Key{old}, a), withKeys(t, "c", []transport.Key{old}, a)
	all := []*member{a, b, c}
	waitVoters(t, all, "a", "b", "c")
	follower := others(all, leaderOf(t, all))[0]
	ctx := t.Context()

	// One is down while a key is installed and comes to use.
	away := others(others(all, follower), leaderOf(t, all))[0]
	away.kill()
	rest := others(all, away)
	eventually(t, "it is missed", func() bool { return !follower.live(away.ID()) && !leaderOf(t, rest).live(away.ID()) })
	change, err := follower.InstallKey(ctx, nil)
	must(t, err)
	if !slices.Equal(change.Unconfirmed, []string{away.ID()}) || len(change.Confirmed) != 2 {
		t.Errorf("InstallKey = %+v, want %s unconfirmed", change, away.ID())
	}
	_, err = follower.UseKey(ctx, change.ID, false)
	wantError(t, err, ErrNotSafe, away.ID(), "does not answer")
	_, err = follower.UseKey(ctx, "0badc0de", false)
	wantError(t, err, ErrUnknownKey, change.ID)
	_, err = follower.UseKey(ctx, change.ID, true)
	must(t, err)
	_, err = follower.RemoveKey(ctx, change.ID, true)
	wantError(t, err, ErrNotSafe, "in use")
	_, err = follower.RemoveKey(ctx, old.Fingerprint(), false)
	wantError(t, err, ErrNotSafe, away.ID())
	follower.propose("with the new key")

	// Back with the old key only, it gets in and takes the others over.
	away = away.again(nil)
	all = append(rest, away)
	for _, m := range all {
		m.rotated(2, change.ID)
	}
	sameState(t, all)
	waitVoters(t, all, "a", "b", "c")
	s := away.Keys(ctx)
	want := KeyStatus{Generation: 2, Keys: []KeyInfo{
		{ID: change.ID, InUse: true, Nodes: []string{"a", "b", "c"}, UsedBy: []string{"a", "b", "c"}},
		{ID: old.Fingerprint(), Nodes: []string{"a", "b", "c"}},
	}}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("Keys (-want +got):\n%s", diff)
	}

	eventually(t, "the follower knows too that all use the new key", func() bool {
		return slices.Equal(follower.Keys(ctx).Keys[0].UsedBy, want.Keys[0].UsedBy)
	})
	removed, err := follower.RemoveKey(ctx, old.Fingerprint(), false)
	must(t, err)
	if len(removed.Unconfirmed) > 0 {
		t.Errorf("RemoveKey = %+v", removed)
	}
	for i, m := range all {
		m.rotated(3, change.ID)
		m.propose("only the new key, by " + m.ID())
		st, err := os.Stat(filepath.Join(m.cfg.DataDir, keysFile))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %s has mode %v, %v", m.ID(), keysFile, st.Mode(), err)
		}
		for _, secret := range []string{old.String(), m.keys.get().keys[0].String()} {
			if strings.Contains(m.log.String(), secret) {
				t.Errorf("%d: a key is in the log", i)
			}
		}
	}
	sameState(t, all)

	// A restart keeps to the data directory's keys, whatever the key file still says.
	follower.kill()
	all = append(others(all, follower), follower.again(nil))
	waitVoters(t, all, "a", "b", "c")
	// A new node with the old key stays out, one with a copy of the ring gets in.
	stranger := withKeys(t, "d", []transport.Key{old}, all[0])
	eventually(t, "the old key is refused", func() bool {
		return strings.Contains(all[0].log.String(), "holds another cluster key") && strings.Contains(stranger.log.String(), keysFile)
	})
	copied, err := os.ReadFile(filepath.Join(all[0].cfg.DataDir, keysFile))
	must(t, err)
	keys, err := transport.ParseKeys(copied)
	must(t, err)
	e := withKeys(t, "e", keys, all[0])
	e.waitJoined()
	e.rotated(3, change.ID)
	must(t, e.Stop(context.WithoutCancel(ctx)))
}

// TestRotation_lab gives a cluster without a key its first one.
func TestRotation_lab(t *testing.T) {
	t.Parallel()
	all := three(t)
	key := testKey(8)
	for _, step := range []func() (KeyChange, error){
		func() (KeyChange, error) { return all[0].InstallKey(t.Context(), &key) },
		func() (KeyChange, error) { return all[1].UseKey(t.Context(), key.Fingerprint(), false) },
		func() (KeyChange, error) {
			return all[2].RemoveKey(t.Context(), transport.LabKey().Fingerprint(), false)
		},
	} {
		c, err := step()
		if err != nil || len(c.Unconfirmed) > 0 {
			t.Fatalf("%+v, %v", c, err)
		}
		all[1].propose("under " + c.ID + " " + strings.Repeat("x", len(all[0].fsm.list())))
	}
	sameState(t, all)
}

func TestLoadKeys_damaged(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t, "a")
	must(t, os.MkdirAll(cfg.DataDir, 0o700))
	must(t, os.WriteFile(filepath.Join(cfg.DataDir, keysFile), []byte("garbage\n"), 0o600))
	_, err := tryPrepare(t, cfg)
	wantError(t, err, ErrDamagedStore, keysFile, "copy", "--cluster-key-file")
}

// An answer to a question from before a change of the keys does not undo what the member has confirmed since.
func TestPeerTable_confirmedKeys(t *testing.T) {
	t.Parallel()
	var p peerTable
	p.begin("b")
	p.end("b", nodeStatus{Keys: ringOf(1, 1).name()}, true, time.Now())
	p.begin("b")
	p.holds("b", ringOf(2, 1, 2).name())
	p.end("b", nodeStatus{Keys: ringOf(1, 1).name()}, true, time.Now())
	if got := p.get("b").Keys; got.Generation != 2 {
		t.Errorf("keys = %+v, want those that were confirmed", got)
	}
	p.begin("b")
	p.end("b", nodeStatus{Keys: ringOf(3, 2).name()}, true, time.Now())
	if got := p.get("b").Keys; got.Generation != 3 {
		t.Errorf("keys = %+v, want the newer ones", got)
	}
}
