/*
 * origin2: an origin that speaks HTTP/2 in clear text, by prior knowledge, and gathers its answers: all requests of one
 * read are answered by one send. One epoll thread. Every request gets 200 and 128 bytes; header blocks are not
 * decoded, as nothing in them matters here.
 *
 *   origin2 PORT      on 127.0.0.1
 *
 * A client must keep to the defaults of RFC 9113 for streams (128 bytes fit any window of one); the window of the
 * connection is respected.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BODY = 128, FRAME = 9, PREFACE = 24, WAITING = 1024 };
enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE };

/* :status 200 by its index, content-type (31) and content-length (28) literally, not indexed */
static const unsigned char head[] = "\x88\x0f\x10\x0atext/plain\x0f\x0d\x03" "128";

struct conn {
  int fd, in, out, sent, greeted;
  long window;             /* bytes of bodies that the client takes now */
  unsigned wait[WAITING];  /* streams that wait for it */
  int waiting;
  unsigned char inbuf[64 << 10];
  unsigned char outbuf[512 << 10];
};

static unsigned u32(const unsigned char *p) { return (unsigned)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }

static void frame(struct conn *c, int type, int flags, unsigned stream, const void *payload, int n) {
  unsigned char *p = c->outbuf + c->out;
  p[0] = n >> 16, p[1] = n >> 8, p[2] = n, p[3] = type, p[4] = flags;
  p[5] = stream >> 24, p[6] = stream >> 16, p[7] = stream >> 8, p[8] = stream;
  memcpy(p + FRAME, payload, n);
  c->out += FRAME + n;
}

static void answer(struct conn *c, unsigned stream) {
  static const char body[BODY] = {0};
  if (c->window < BODY || c->out > (int)sizeof c->outbuf - 1024) {
    if (c->waiting < WAITING)
      c->wait[c->waiting++] = stream;
    return;
  }
  c->window -= BODY;
  frame(c, HEADERS, 4, stream, head, sizeof head - 1);
  frame(c, DATA, 1, stream, body, BODY);
}

static void answer_waiting(struct conn *c) {
  int n = c->waiting;
  c->waiting = 0;
  for (int i = 0; i < n; i++)
    answer(c, c->wait[i]);
}

/* flush sends what is gathered: -1 = the client is gone. */
static int flush(struct conn *c) {
  while (c->sent < c->out) {
    ssize_t n = send(c->fd, c->outbuf + c->sent, c->out - c->sent, MSG_NOSIGNAL);
    if (n < 0)
      return errno == EAGAIN ? 0 : -1;
    c->sent += n;
  }
  c->sent = c->out = 0;
  if (c->waiting && c->window >= BODY) {
    answer_waiting(c);
    return c->out ? flush(c) : 0;
  }
  return 0;
}

/* take handles one frame: -1 = close. */
static int take(struct conn *c, int type, int flags, unsigned stream, const unsigned char *p, int n) {
  switch (type) {
  case HEADERS:
    if (flags & 1)
      answer(c, stream);
    break;
  case DATA:
    if (n) {
      unsigned char more[4] = {n >> 24, n >> 16, n >> 8, n};
      frame(c, WINDOW_UPDATE, 0, 0, more, 4);
    }
    if (flags & 1)
      answer(c, stream);
    break;
  case SETTINGS:
    if (!(flags & 1))
      frame(c, SETTINGS, 1, 0, "", 0);
    break;
  case PING:
    if (!(flags & 1) && n == 8)
      frame(c, PING, 1, 0, p, 8);
    break;
  case WINDOW_UPDATE:
    if (!stream && n == 4)
      c->window += u32(p) & 0x7fffffff, answer_waiting(c);
    break;
  case GOAWAY:
    return -1;
  }
  return 0;
}

/* process handles the frames in inbuf: -1 = close. */
static int process(struct conn *c) {
  int at = 0;
  if (!c->greeted) {
    if (c->in < PREFACE)
      return 0;
    if (memcmp(c->inbuf, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", PREFACE))
      return -1;
    at = PREFACE, c->greeted = 1;
    frame(c, SETTINGS, 0, 0, "\0\x03\0\0\x03\xe8", 6); /* 1000 streams at a time */
  }
  while (c->in - at >= FRAME) {
    unsigned char *f = c->inbuf + at;
    int n = f[0] << 16 | f[1] << 8 | f[2];
    if (n > 16384)
      return -1;
    if (c->in - at < FRAME + n)
      break;
    if (take(c, f[3], f[4], u32(f + 5) & 0x7fffffff, f + FRAME, n))
      return -1;
    at += FRAME + n;
  }
  memmove(c->inbuf, c->inbuf + at, c->in - at);
  c->in -= at;
  return 0;
}

static int on_event(struct conn *c, unsigned events) {
  if ((events & EPOLLOUT) && flush(c))
    return -1;
  while (events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)) {
    int room = sizeof c->inbuf - c->in;
    ssize_t n = recv(c->fd, c->inbuf + c->in, room, 0);
    if (n < 0 && errno == EAGAIN)
      break;
    if (n <= 0)
      return -1;
    c->in += n;
    if (process(c))
      return -1;
    if (n < room && !(events & EPOLLRDHUP))
      break;
  }
  return flush(c);
}

int main(int argc, char **argv) {
  int one = 1, l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), ep = epoll_create1(0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(l, (void *)&a, sizeof a) || listen(l, 1024)) {
    perror("origin2");
    return 1;
  }
  struct epoll_event e = {EPOLLIN, {.ptr = NULL}}, ev[64];
  epoll_ctl(ep, EPOLL_CTL_ADD, l, &e);
  for (;;) {
    int n = epoll_wait(ep, ev, 64, -1);
    for (int i = 0; i < n; i++) {
      struct conn *c = ev[i].data.ptr;
      if (!c) {
        int fd;
        while ((fd = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
          setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          c = malloc(sizeof *c);
          c->fd = fd, c->in = c->out = c->sent = c->greeted = c->waiting = 0, c->window = 65535;
          struct epoll_event e = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.ptr = c}};
          epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
        }
        continue;
      }
      if (on_event(c, ev[i].events)) {
        close(c->fd);
        free(c);
      }
    }
  }
}
