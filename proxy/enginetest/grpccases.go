package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lbnode/lbnode/state"
)

// The metadata by which a client asks the service for something that the interop server does not do.
const (
	wantKey   = "x-want"
	wantsWait = "wait"    // hold the call until its context ends
	wantsInfo = "details" // fail with details
	wantsDead = "deadline"
)

// ownGRPCCases are what the interop cases leave out.
func ownGRPCCases() []grpcCase {
	return []grpcCase{
		{"error_details", grpcErrorDetails},
		{"big_messages", grpcBigMessages},
		{"compression", grpcCompression},
		{"deadline", grpcDeadline},
		{"cancel", grpcCancel},
		{"interleaved", grpcInterleaved},
		{"many_streams", grpcManyStreams},
		{"unavailable", grpcUnavailable}, // last: it takes the backend away
	}
}

func (s *grpcService) UnaryCall(ctx context.Context, in *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	switch want := md.Get(wantKey); {
	case len(want) == 0:
		return s.TestServiceServer.UnaryCall(ctx, in)
	case want[0] == wantsWait:
		return nil, s.wait(ctx)
	case want[0] == wantsDead:
		end, ok := ctx.Deadline()
		return &testgrpc.SimpleResponse{Username: fmt.Sprint(ok, time.Until(end) > 0)}, nil
	case want[0] == wantsInfo:
		_ = grpc.SetTrailer(ctx, metadata.Pairs("x-note-bin", "\x00\xff", "x-many", "1", "x-many", "2"))
		st, err := status.New(codes.ResourceExhausted, "quota: 100 % used, ü").WithDetails(durationpb.New(time.Minute))
		if err != nil {
			return nil, err
		}
		return nil, st.Err()
	default: // the payload itself, as it came
		return &testgrpc.SimpleResponse{Payload: in.Payload}, nil
	}
}

func wanting(ctx context.Context, what string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, wantKey, what)
}

// grpcErrorDetails: status, message, details and own trailers arrive as they were sent.
func grpcErrorDetails(ctx context.Context, t *testing.T, w *grpcWorld) {
	var trailer metadata.MD
	_, err := w.tc.UnaryCall(wanting(ctx, wantsInfo), &testgrpc.SimpleRequest{}, grpc.Trailer(&trailer))
	st := status.Convert(err)
	if st.Code() != codes.ResourceExhausted || st.Message() != "quota: 100 % used, ü" {
		t.Errorf("status = %v, want what the server said", st)
	}
	if d := st.Details(); len(d) != 1 || d[0].(*durationpb.Duration).AsDuration() != time.Minute {
		t.Errorf("details = %v, want one minute", d)
	}
	if note, many := trailer.Get("x-note-bin"), trailer.Get("x-many"); len(note) != 1 || note[0] != "\x00\xff" || fmt.Sprint(many) != "[1 2]" {
		t.Errorf("trailers = %q, want both of them whole", trailer)
	}
}

// payload is n bytes that do not repeat themselves soon.
func payload(n int) *testgrpc.Payload {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return &testgrpc.Payload{Body: b}
}

func grpcBigMessages(ctx context.Context, t *testing.T, w *grpcWorld) {
	for _, n := range []int{0, 1, 16383, 16384, 65535, 65536, 1 << 20, 16 << 20} {
		p := payload(n)
		resp, err := w.tc.UnaryCall(wanting(ctx, "echo"), &testgrpc.SimpleRequest{Payload: p})
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if !bytes.Equal(resp.GetPayload().GetBody(), p.Body) {
			t.Fatalf("%d bytes came back as other %d", n, len(resp.GetPayload().GetBody()))
		}
	}
}

func grpcCompression(ctx context.Context, t *testing.T, w *grpcWorld) {
	p := &testgrpc.Payload{Body: bytes.Repeat([]byte("lbnode "), 50_000)}
	resp, err := w.tc.UnaryCall(wanting(ctx, "echo"), &testgrpc.SimpleRequest{Payload: p}, grpc.UseCompressor(gzip.Name))
	if err != nil || !bytes.Equal(resp.GetPayload().GetBody(), p.Body) {
		t.Errorf("compressed call: %v, %d bytes", err, len(resp.GetPayload().GetBody()))
	}
}

// grpcDeadline: the server knows the client's deadline, and the call ends with it on both sides.
func grpcDeadline(ctx context.Context, t *testing.T, w *grpcWorld) {
	resp, err := w.tc.UnaryCall(wanting(ctx, wantsDead), &testgrpc.SimpleRequest{})
	if err != nil || resp.Username != "true true" {
		t.Errorf("the server sees of the deadline: %v, %v", resp, err)
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err = w.tc.UnaryCall(wanting(short, wantsWait), &testgrpc.SimpleRequest{})
	// The server resets the stream at the same moment, a little sooner or later than the client sees its own deadline.
	// Where its reset cannot be passed on, a 502 says so.
	end, _ := short.Deadline()
	if c := status.Code(err); c != codes.DeadlineExceeded && (c != codes.Unavailable || time.Until(end) > 200*time.Millisecond) {
		t.Errorf("after the deadline: %v, want DeadlineExceeded", err)
	}
	w.service.wantBegun(t)
	w.service.wantEnded(t)
}

// grpcCancel: a client that gives up ends the call on the server.
func grpcCancel(ctx context.Context, t *testing.T, w *grpcWorld) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := w.tc.UnaryCall(wanting(ctx, wantsWait), &testgrpc.SimpleRequest{})
		done <- err
	}()
	w.service.wantBegun(t)
	cancel()
	if err := <-done; status.Code(err) != codes.Canceled {
		t.Errorf("a cancelled call: %v, want Canceled", err)
	}
	w.service.wantEnded(t)
}

func (s *grpcService) wantBegun(t testing.TB) {
	t.Helper()
	select {
	case <-s.began:
	case <-time.After(patience):
		t.Fatal("the call did not reach the server")
	}
}

func (s *grpcService) wantEnded(t testing.TB) {
	t.Helper()
	select {
	case err := <-s.ended:
		if err == nil {
			t.Error("the server was not told that the call has ended")
		}
	case <-time.After(patience):
		t.Error("the call did not end on the server")
	}
}

// grpcInterleaved: each answer of a bidirectional stream arrives before the next request is sent, many times over.
func grpcInterleaved(ctx context.Context, t *testing.T, w *grpcWorld) {
	stream, err := w.tc.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		size := int32(i * 37)
		err := stream.Send(&testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: size}}})
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		resp, err := stream.Recv()
		if err != nil || len(resp.GetPayload().GetBody()) != int(size) {
			t.Fatalf("answer %d: %v, %d bytes, want %d", i, err, len(resp.GetPayload().GetBody()), size)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the end of the stream is %v", err)
	}
}

func grpcManyStreams(ctx context.Context, t *testing.T, w *grpcWorld) {
	const n = 60
	errs := make(chan error, n)
	for i := range n {
		go func() {
			p := payload(1000 * (i + 1))
			resp, err := w.tc.UnaryCall(wanting(ctx, "echo"), &testgrpc.SimpleRequest{Payload: p})
			if err == nil && !bytes.Equal(resp.GetPayload().GetBody(), p.Body) {
				err = fmt.Errorf("call %d got another's answer", i)
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// grpcUnavailable: without a backend the client hears a code that it may retry.
func grpcUnavailable(ctx context.Context, t *testing.T, w *grpcWorld) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close() // nobody listens there any more
	w.views.Put(state.KindBackend, fmt.Sprintf(`{"id":"b0","address":%q,"pool":"web"}`, ln.Addr()))
	w.update()
	if _, err := w.tc.EmptyCall(ctx, &testgrpc.Empty{}); status.Code(err) != codes.Unavailable {
		t.Errorf("without a backend: %v, want Unavailable", err)
	}
	w.views.Delete(state.KindBackend, "b0")
	w.update()
	if _, err := w.tc.EmptyCall(ctx, &testgrpc.Empty{}); status.Code(err) != codes.Unavailable {
		t.Errorf("with an empty pool: %v, want Unavailable", err)
	}
}
