package bench

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startedReceiver is one within this process.
type startedReceiver struct {
	t   *testing.T
	in  *json.Encoder
	out *json.Decoder
}

func newReceiver(t *testing.T) *startedReceiver {
	in, questions := io.Pipe()
	answers, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Receive(in, out) }()
	t.Cleanup(func() {
		questions.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &startedReceiver{t, json.NewEncoder(questions), json.NewDecoder(answers)}
}

func (r *startedReceiver) ask(ask receiving) (answer received) {
	r.t.Helper()
	if err := r.in.Encode(ask); err != nil {
		r.t.Fatal(err)
	}
	if err := r.out.Decode(&answer); err != nil {
		r.t.Fatal(err)
	}
	return answer
}

// post sends an event with this number.
func post(ctx context.Context, address string, sequence int) (status int, err error) {
	body := `{"timestamp":"2026-01-01T00:00:00Z","sequence":` + strconv.Itoa(sequence) + `}`
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func TestReceiver(t *testing.T) {
	r := newReceiver(t)
	address := r.ask(receiving{Open: 2}).Addresses[1]
	one := []int{1}
	behave := func(b Behaviour) { r.ask(receiving{Behave: &behaving{one, b}}) }
	take := func(least int) []arrival {
		t.Helper()
		answer := r.ask(receiving{Take: &taking{one, least, answerPatience}})
		if answer.Error != "" {
			t.Fatal(answer.Error)
		}
		return answer.Arrivals
	}

	for _, sequence := range []int{1, 2, 1} { // what comes twice counts once
		if status, err := post(t.Context(), address, sequence); status != http.StatusNoContent || err != nil {
			t.Fatalf("%d, %v", status, err)
		}
	}
	if came := take(0); len(came) != 2 || came[0].Endpoint != 1 || came[0].Sequence != 1 || time.Since(came[0].FirstByte) > answerPatience {
		t.Errorf("there came %+v", came)
	}

	for i, b := range []Behaviour{Hangs, Delays} {
		behave(b)
		answered := make(chan int, 1)
		go func() {
			status, _ := post(t.Context(), address, 3+i)
			answered <- status
		}()
		if came := take(1); came[0].Sequence != int64(3+i) {
			t.Errorf("%s: there came %+v", b, came)
		}
		select {
		case status := <-answered:
			t.Errorf("%s: it answered %d", b, status)
		default:
		}
		behave(Answers)
		if status := <-answered; status != http.StatusNoContent {
			t.Errorf("%s: it answered %d in the end", b, status)
		}
	}

	behave(Resets)
	if _, err := post(t.Context(), address, 5); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("what resets: %v", err)
	}
	behave(Refuses)
	if _, err := post(t.Context(), address, 6); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("what refuses: %v", err)
	}
	behave(Answers)
	if status, err := post(t.Context(), address, 6); status != http.StatusNoContent || err != nil {
		t.Errorf("after that: %d, %v", status, err)
	}
	if answer := r.ask(receiving{Take: &taking{one, 9, time.Millisecond}}); answer.Error == "" {
		t.Errorf("there came %+v, and nine were awaited", answer.Arrivals)
	}
}

func TestWhole(t *testing.T) {
	for _, test := range []struct {
		sequences []int64
		ok        bool
	}{
		{nil, true},
		{[]int64{7, 5, 6}, true},
		{[]int64{5, 7}, false},
	} {
		arrivals := []arrival{{Endpoint: 2, Sequence: 100}}
		for _, s := range test.sequences {
			arrivals = append(arrivals, arrival{Endpoint: 1, Sequence: s})
		}
		if err := whole(arrivals); (err == nil) != test.ok {
			t.Errorf("%v: %v", test.sequences, err)
		}
	}
}
