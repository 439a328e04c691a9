/*
 * load: the load generator of the comparison, for HTTP/1.1 in clear and over TLS. One epoll thread.
 *
 *   closed loop  (default)  every connection asks again as soon as it has its answer
 *   open loop    (-r RATE)  requests fall due at a fixed rate, whatever the answers do, and latency counts from
 *                           the moment a request was due: a proxy that stalls cannot hide it (coordinated omission)
 *   idle         (-i)       every connection gets one answer and is then left alone
 *
 * It connects, warms up, waits until nothing is in flight, prints "ready" and waits for a line on stdin. So the
 * runner can look at the proxy's CPU time or memory at that moment, and after the last answer again: the difference
 * belongs to the counted answers and to nothing else. The last line says what came of it, times in seconds and
 * latencies in microseconds:
 *
 *   n=100000 due=100000 errors=0 reconnects=0 seconds=2.001 p50=130.2 p99=402.8 p999=911.0 max=3022.1 wrong=0
 *
 * wrong is the last status that was not 200, if any.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

#define GRACE 2.0 /* seconds that answers may take after the last request */

struct conn {
  struct wire wire;
  int busy;
  double due;     /* when the request in flight was due */
  long left;      /* bytes of the answer's body still to come; -1 = its head is not complete */
  int head_len;   /* bytes of an incomplete head */
  char head[4096];
};

static struct {
  const char *port, *path;
  int conns, body, tls, idle, sources;
  long routes, expect;
  double seconds, warm, rate;
} opt = {.path = "/s", .conns = 1, .seconds = 1, .expect = -1};

static char *request;
static int request_len, route_at = -1; /* where the number of the route stands in request */
static unsigned seed = 1;

static struct conn *conns, **queue; /* queue: connections without a request, oldest first */
static int queue_head, queue_len, in_flight, ep;

static long answers, sent, errors, reconnects;
static int wrong_status;
static float *latency; /* of each answer of the measured phase */
static long latency_cap;
static int measuring, repeating; /* repeating: an answer is followed by the next request at once */
static double last_answer;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static void open_conn(struct conn *c) {
  int n = opt.sources ? (c - conns) % 250 + 1 : 0;
  if (wire_open(&c->wire, atoi(opt.port), opt.tls, n ? 0x7f020000 + n : INADDR_LOOPBACK)) {
    perror("load: connect");
    exit(1);
  }
  c->busy = c->head_len = 0;
  struct epoll_event e = {EPOLLIN, {.ptr = c}};
  epoll_ctl(ep, EPOLL_CTL_ADD, c->wire.fd, &e);
}

static void reopen(struct conn *c) {
  wire_close(&c->wire);
  open_conn(c);
}

/* ---- requests and answers ---- */

/* build_request makes a head as a browser sends it. Five digits "00000" in the path become a route's number. */
static void build_request(void) {
  request = malloc(2048 + opt.body);
  request_len = sprintf(request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n", opt.body ? "POST" : "GET", opt.path, opt.port);
  request_len += sprintf(request + request_len,
                         "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n"
                         "Accept: text/html,application/json;q=0.9,*/*;q=0.8\r\n"
                         "Accept-Encoding: gzip, br\r\nCookie: sid=0123456789abcdef0123456789abcdef\r\n");
  if (opt.body)
    request_len += sprintf(request + request_len, "Content-Type: application/octet-stream\r\nContent-Length: %d\r\n", opt.body);
  request_len += sprintf(request + request_len, "\r\n");
  memset(request + request_len, 'b', opt.body);
  request_len += opt.body;
  char *digits = opt.routes ? strstr(request, "00000") : NULL;
  if (digits)
    route_at = digits - request;
}

static void fire(struct conn *c, double due) {
  if (route_at >= 0) { /* another route each time, so that a large table does not sit in the cache */
    seed = seed * 1664525u + 1013904223u;
    long r = (seed >> 8) % opt.routes;
    for (int i = 4; i >= 0; i--, r /= 10)
      request[route_at + i] = '0' + r % 10;
  }
  c->busy = 1, c->left = -1, c->head_len = 0, c->due = due;
  in_flight++, sent++;
  /* The connection has nothing in flight, so its send buffer is empty and takes the whole request. */
  ssize_t n = wire_write(&c->wire, request, request_len);
  if (n == request_len)
    return;
  errors++, in_flight--;
  reopen(c);
  queue[(queue_head + queue_len++) % opt.conns] = c;
}

static void done(struct conn *c) {
  double t = now();
  c->busy = 0, in_flight--;
  last_answer = t;
  if (measuring && answers == latency_cap) {
    latency_cap = latency_cap ? 2 * latency_cap : 1 << 16;
    latency = realloc(latency, latency_cap * sizeof *latency);
  }
  if (measuring)
    latency[answers] = (t - c->due) * 1e6;
  answers++;
  if (repeating)
    fire(c, t);
  else
    queue[(queue_head + queue_len++) % opt.conns] = c;
}

/* parse_head reads status and length from a complete head of n bytes: the length of the body, or -1 = not usable. */
static long parse_head(char *head, int n) {
  char end = head[n - 1];
  head[n - 1] = 0;
  char *length = strcasestr(head, "\r\ncontent-length:");
  long body = length ? atol(length + 17) : -1;
  head[n - 1] = end;
  int status = n < 12 ? 0 : atoi(head + 9);
  if (status != 200 || (opt.expect >= 0 && body != opt.expect))
    errors++;
  if (status != 200)
    wrong_status = status;
  return body;
}

/* take counts n received bytes towards the answer: 0 = go on, -1 = this connection is of no more use. */
static int take(struct conn *c, char *buf, ssize_t n) {
  if (!c->busy)
    return -1; /* bytes that nobody asked for */
  if (c->left < 0) {
    char *head = buf;
    int len = n, before = 0; /* bytes of the head that came before buf */
    if (c->head_len || !memmem(buf, n, "\r\n\r\n", 4)) { /* the head came in pieces */
      int room = sizeof c->head - c->head_len, part = n < room ? n : room;
      before = c->head_len;
      memcpy(c->head + before, buf, part);
      head = c->head, len = c->head_len = before + part;
    }
    char *end = memmem(head, len, "\r\n\r\n", 4);
    if (!end)
      return len == sizeof c->head ? -1 : 0;
    int head_end = end + 4 - head;
    c->left = parse_head(head, head_end);
    if (c->left < 0)
      return -1;
    n -= head_end - before; /* what follows the head in buf is body */
  }
  c->left -= n;
  if (c->left < 0)
    return -1;
  if (c->left == 0)
    done(c);
  return 0;
}

static void on_readable(struct conn *c) {
  static char buf[256 << 10];
  for (;;) {
    ssize_t n = wire_read(&c->wire, buf, sizeof buf);
    if (n < 0 && errno == EAGAIN)
      return;
    if (n > 0 && take(c, buf, n) == 0) {
      if (!c->wire.ssl && n < (ssize_t)sizeof buf)
        return;
      continue; /* OpenSSL may hold more than epoll knows of */
    }
    int lost = c->busy;
    reopen(c);
    reconnects++;
    if (lost) {
      errors++, in_flight--;
      queue[(queue_head + queue_len++) % opt.conns] = c;
    }
    return;
  }
}

/* ---- phases ---- */

static struct conn *next_idle(void) {
  struct conn *c = queue[queue_head];
  queue_head = (queue_head + 1) % opt.conns;
  queue_len--;
  return c;
}

static void poll_once(double wait) {
  struct epoll_event ev[256];
  struct timespec ts = {(time_t)wait, (wait - (time_t)wait) * 1e9};
  int n = epoll_pwait2(ep, ev, 256, &ts, NULL);
  for (int i = 0; i < n; i++)
    on_readable(ev[i].data.ptr);
}

/* phase makes requests for some seconds and returns once all are answered, or after a grace: how many fell due. */
static long phase(double seconds, double start) {
  double end = start + seconds;
  long due = opt.rate > 0 ? opt.rate * seconds : -1;
  sent = 0;
  for (;;) {
    double t = now();
    repeating = opt.rate <= 0 && t < end;
    if (opt.rate > 0)
      while (queue_len && sent < due && start + sent / opt.rate <= t)
        fire(next_idle(), start + sent / opt.rate);
    else
      while (queue_len && repeating)
        fire(next_idle(), t);
    int finished = opt.rate > 0 ? sent == due : !repeating;
    if ((finished && in_flight == 0) || t > end + GRACE)
      return due < 0 ? sent : due;
    double wait = end + GRACE - t;
    if (opt.rate > 0 && queue_len && sent < due)
      wait = start + sent / opt.rate - t;
    else if (!finished && opt.rate <= 0)
      wait = end - t;
    poll_once(wait > 0 ? wait : 0);
  }
}

/* open_idle gets one answer on each connection as soon as it is open: proxies give up on clients that never ask. */
static void open_idle(void) {
  for (int i = 0; i < opt.conns; i++) {
    double limit = now() + 5 * GRACE;
    open_conn(&conns[i]);
    fire(&conns[i], now());
    while (in_flight && now() < limit)
      poll_once(GRACE);
    errors += in_flight;
    in_flight = 0;
  }
}

static void wait_for_runner(void) {
  char c;
  printf("ready\n");
  fflush(stdout);
  while (read(0, &c, 1) == 1 && c != '\n')
    ;
}

static long still_open(void) {
  long open = 0;
  for (int i = 0; i < opt.conns; i++) {
    char c;
    ssize_t n = recv(conns[i].wire.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
    open += n > 0 || (n < 0 && errno == EAGAIN);
  }
  return open;
}

static int ascending(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static float quantile(double q) { return answers ? latency[(long)(q * (answers - 1))] : 0; }

static void usage(void) {
  fprintf(stderr, "usage: load -p PORT [-u PATH] [-c CONNS] [-d SECONDS] [-w WARM-UP] [-r RATE] [-b POST-BYTES]\n"
                  "            [-n EXPECTED-BODY] [-k ROUTES] [-s (TLS)] [-i (idle)] [-a (addresses)]\n");
  exit(2);
}

static void options(int argc, char **argv) {
  int o;
  while ((o = getopt(argc, argv, "p:u:c:d:w:r:b:n:k:sia")) != -1)
    switch (o) {
    case 'p': opt.port = optarg; break;
    case 'u': opt.path = optarg; break;
    case 'c': opt.conns = atoi(optarg); break;
    case 'd': opt.seconds = atof(optarg); break;
    case 'w': opt.warm = atof(optarg); break;
    case 'r': opt.rate = atof(optarg); break;
    case 'b': opt.body = atoi(optarg); break;
    case 'n': opt.expect = atol(optarg); break;
    case 'k': opt.routes = atol(optarg); break;
    case 's': opt.tls = 1; break;
    case 'i': opt.idle = 1; break;
    case 'a': opt.sources = 1; break; /* up to 250 client addresses instead of one */
    default: usage();
    }
  if (!opt.port || opt.conns < 1 || strlen(opt.path) > 512)
    usage();
}

int main(int argc, char **argv) {
  options(argc, argv);
  prctl(PR_SET_TIMERSLACK, 1); /* nanosecond; the default of 50 µs would be added to every due time */
  build_request();
  ep = epoll_create1(0);
  conns = calloc(opt.conns, sizeof *conns);
  queue = malloc(opt.conns * sizeof *queue);
  for (int i = 0; i < opt.conns && !opt.idle; i++) {
    open_conn(&conns[i]);
    queue[queue_len++] = &conns[i];
  }
  if (opt.idle)
    open_idle();
  else if (opt.warm > 0)
    phase(opt.warm, now());
  long warm_errors = errors;
  wait_for_runner();
  if (opt.idle) {
    printf("n=%ld due=%d errors=%ld reconnects=%ld seconds=0 p50=0 p99=0 p999=0 max=0 wrong=%d\n", still_open(), opt.conns,
           warm_errors, reconnects, wrong_status);
    return 0;
  }
  answers = reconnects = 0, measuring = 1;
  errors = 0, wrong_status = 0;
  double start = now();
  long due = phase(opt.seconds, start);
  if (opt.rate <= 0)
    errors += in_flight; /* with a rate, what is missing shows in due - n */
  qsort(latency, answers, sizeof *latency, ascending);
  printf("n=%ld due=%ld errors=%ld reconnects=%ld seconds=%.6f p50=%.1f p99=%.1f p999=%.1f max=%.1f wrong=%d\n", answers, due, errors,
         reconnects, last_answer - start, quantile(.5), quantile(.99), quantile(.999), quantile(1), wrong_status);
  return answers ? 0 : 1;
}
