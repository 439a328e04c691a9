package recording

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// BucketConfig says where a bucket is. Region may be empty.
type BucketConfig struct {
	URL       string // of the service and the bucket: https://s3.example.org/bucket, with a prefix if there is more
	Region    string
	AccessKey string
	SecretKey string
	Transport http.RoundTripper // nil = the library's
}

// Bucket keeps files in a bucket of a service that speaks S3, as PREFIX/ID/FORMAT/NAME. All nodes share it.
type Bucket struct {
	c              *minio.Client
	bucket, prefix string
}

// OpenBucket makes the client. It makes no connection.
func OpenBucket(cfg BucketConfig) (*Bucket, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("%q must be the URL of a bucket, such as https://s3.example.org/recordings", cfg.URL)
	}
	bucket, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if bucket == "" {
		return nil, fmt.Errorf("%q names no bucket", cfg.URL)
	}
	if cfg.AccessKey == "" || cfg.SecretKey == "" {
		return nil, errors.New("a bucket needs an access key and a secret key")
	}
	region := cfg.Region
	if region == "" {
		region = "us-east-1"
	}
	c, err := minio.New(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, ""), Secure: u.Scheme == "https", Region: region,
		Transport: cfg.Transport, BucketLookup: minio.BucketLookupPath, MaxRetries: 3,
	})
	if err != nil {
		return nil, err
	}
	return &Bucket{c: c, bucket: bucket, prefix: prefix}, nil
}

// Shared implements [Files].
func (*Bucket) Shared() bool { return true }

func (b *Bucket) key(parts ...string) string {
	return path.Join(append([]string{b.prefix}, parts...)...)
}

type bucketUpload struct {
	b          *Bucket
	id, format string
	mu         sync.Mutex
	put        []string // keys
	done       bool
}

// Begin implements [Files]. A bucket knows no renaming: files are replaced one by one, and until Commit nothing names
// them.
func (b *Bucket) Begin(_ context.Context, id, format string) (Upload, error) {
	return &bucketUpload{b: b, id: id, format: format}, nil
}

// Put implements [Upload].
func (u *bucketUpload) Put(ctx context.Context, name string, r io.Reader, size int64) error {
	key := u.b.key(u.id, u.format, name)
	_, err := u.b.c.PutObject(ctx, u.b.bucket, key, r, size, minio.PutObjectOptions{DisableMultipart: size < 64<<20})
	if err == nil {
		u.mu.Lock()
		u.put = append(u.put, key)
		u.mu.Unlock()
	}
	return err
}

// Commit implements [Upload].
func (u *bucketUpload) Commit(context.Context) error { u.done = true; return nil }

// Abort implements [Upload].
func (u *bucketUpload) Abort() {
	if u.done {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), abortTimeout)
	defer cancel()
	for _, key := range u.put {
		_ = u.b.c.RemoveObject(ctx, u.b.bucket, key, minio.RemoveObjectOptions{}) // Sweep finds what stays
	}
}

const abortTimeout = 10 * time.Second

type bucketFile struct {
	*minio.Object
	info minio.ObjectInfo
}

func (f bucketFile) Size() int64        { return f.info.Size }
func (f bucketFile) Changed() time.Time { return f.info.LastModified }

// Open implements [Files].
func (b *Bucket) Open(ctx context.Context, id, format, name string) (File, error) {
	o, err := b.c.GetObject(ctx, b.bucket, b.key(id, format, name), minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	info, err := o.Stat()
	if err != nil {
		if code := minio.ToErrorResponse(err).Code; code == minio.NoSuchKey {
			err = fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		return nil, errors.Join(err, o.Close())
	}
	return bucketFile{o, info}, nil
}

// Remove implements [Files].
func (b *Bucket) Remove(ctx context.Context, id string) error {
	var errs []error
	for o := range b.c.ListObjectsIter(ctx, b.bucket, minio.ListObjectsOptions{Prefix: b.key(id) + "/", Recursive: true}) {
		if o.Err != nil {
			return o.Err
		}
		errs = append(errs, b.c.RemoveObject(ctx, b.bucket, o.Key, minio.RemoveObjectOptions{}))
	}
	return errors.Join(errs...)
}

// IDs implements [Files].
func (b *Bucket) IDs(ctx context.Context) (map[string]time.Time, error) {
	out := map[string]time.Time{}
	prefix := ""
	if b.prefix != "" {
		prefix = b.prefix + "/"
	}
	for o := range b.c.ListObjectsIter(ctx, b.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, o.Err
		}
		id, _, ok := strings.Cut(strings.TrimPrefix(o.Key, prefix), "/")
		if ok && o.LastModified.After(out[id]) {
			out[id] = o.LastModified
		}
	}
	return out, nil
}
