"""Websites of buckets, as a browser sees them."""

import json
import uuid

import pytest
import web
from botocore.exceptions import ClientError

INDEX = b"<!doctype html><title>home</title>"


def policy(bucket, **more):
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture(scope="module")
def site(server):
    """`(bucket, visit)`: a website, and requests to its host."""
    s3, bucket = server.client("s3"), f"site-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="index.html", Body=INDEX, ContentType="text/html", CacheControl="no-cache")
    s3.put_object(Bucket=bucket, Key="docs/index.html", Body=b"docs", ContentType="text/html")
    s3.put_object(Bucket=bucket, Key="a b/ä.js", Body=b"0123456789", ContentType="text/javascript", CacheControl="max-age=60")
    s3.put_object(Bucket=bucket, Key="404.html", Body=b"nothing here", ContentType="text/html")
    s3.put_object(Bucket=bucket, Key="moved", WebsiteRedirectLocation="/docs/")
    configuration = {
        "IndexDocument": {"Suffix": "index.html"},
        "ErrorDocument": {"Key": "404.html"},
        "RoutingRules": [
            {"Condition": {"KeyPrefixEquals": "old/"}, "Redirect": {"ReplaceKeyPrefixWith": "docs/", "HttpRedirectCode": "302"}},
            {
                "Condition": {"KeyPrefixEquals": "lost/", "HttpErrorCodeReturnedEquals": "404"},
                "Redirect": {"HostName": "example.com", "Protocol": "https", "ReplaceKeyWith": "found"},
            },
        ],
    }
    visit = lambda path, *rest, **headers: web.request(  # noqa: E731
        server, path, *rest, host=f"{bucket}.s3-website.localhost", headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    assert visit("/").status == 404 and b"NoSuchWebsiteConfiguration" in visit("/").body
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=configuration)
    assert visit("/").status == 403
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(bucket))
    found = s3.get_bucket_website(Bucket=bucket)
    assert {name: found[name] for name in configuration} == configuration
    return bucket, visit


def test_pages(server, site):
    bucket, visit = site
    home = visit("/")
    assert (home.status, home.body, home.headers["content-type"]) == (200, INDEX, "text/html")
    assert home.headers["cache-control"] == "no-cache"
    for host in [f"{bucket}.s3-website-eu-west-1.amazonaws.com", f"{bucket}.s3-website.eu-west-1.amazonaws.com"]:
        assert web.request(server, "/", host=host).body == INDEX
    assert web.request(server, f"/websites/{bucket}/").body == INDEX
    assert web.request(server, f"/websites/{bucket}/docs/").body == b"docs"
    script = visit("/a%20b/%C3%A4.js?v=7")
    assert (script.status, script.headers["content-type"], script.headers["cache-control"]) == (200, "text/javascript", "max-age=60")
    same = visit("/", "GET", None, If_None_Match=home.headers["etag"])
    assert (same.status, same.body) == (304, b"")
    part = visit("/a%20b/%C3%A4.js", "GET", None, Range="bytes=2-4")
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert visit("/a%20b/%C3%A4.js", "GET", None, Range="bytes=99-").status == 416
    head = visit("/", "HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(INDEX)))
    assert visit("/", "POST", b"x").status == 405


def test_what_is_elsewhere_and_what_is_nowhere(server, site):
    bucket, visit = site
    where = lambda answer: (answer.status, answer.headers["location"])  # noqa: E731
    assert where(visit("/docs")) == (302, "/docs/")
    assert where(web.request(server, f"/websites/{bucket}/docs")) == (302, f"/websites/{bucket}/docs/")
    assert where(visit("/moved")) == (301, "/docs/")
    assert where(visit("/old/a%20b")) == (302, "/docs/a%20b")
    assert where(visit("/lost/thing")) == (301, "https://example.com/found")
    lost = visit("/nothing", "GET", None, If_None_Match="*", Range="bytes=0-3")
    assert (lost.status, lost.body, lost.headers["content-type"]) == (404, b"nothing here", "text/html")
    other = web.request(server, "/", host="no-such-site.s3-website.localhost")
    assert other.status == 404 and b"NoSuchBucket" in other.body and b"<h1>" in other.body
    hostile = web.request(server, "/", host="<script>.s3-website.localhost")
    assert b"<script>" not in hostile.body


def test_a_site_shows_what_its_policy_lets_everybody_read(server, site):
    bucket, visit = site
    s3 = server.client("s3")
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == json.loads(policy(bucket))
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is True
    try:
        s3.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, Resource=f"arn:aws:s3:::{bucket}/docs/*"))
        assert (visit("/docs/").status, visit("/").status) == (200, 403)
        s3.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, Principal={"AWS": "arn:aws:iam::000000000000:root"}))
        assert visit("/docs/").status == 403
        for bad, code in [
            ("{", "MalformedPolicy"),
            (policy(bucket, Resource="arn:aws:s3:::other/*"), "MalformedPolicy"),
            (policy(bucket, Condition={"Is": {"aws:SecureTransport": "true"}}), "MalformedPolicy"),
        ]:
            with pytest.raises(ClientError) as caught:
                s3.put_bucket_policy(Bucket=bucket, Policy=bad)
            assert caught.value.response["Error"]["Code"] == code
        for met, status in [("false", 200), ("true", 403)]:
            s3.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, Condition={"Bool": {"aws:SecureTransport": met}}))
            assert visit("/docs/").status == status
        s3.delete_bucket_policy(Bucket=bucket)
        assert visit("/docs/").status == 403
        with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
            s3.get_bucket_policy(Bucket=bucket)
    finally:
        s3.put_bucket_policy(Bucket=bucket, Policy=policy(bucket))


def test_a_website_that_is_somewhere_else(server):
    s3, bucket = server.client("s3"), f"site-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    redirect = {"RedirectAllRequestsTo": {"HostName": "example.com", "Protocol": "https"}}
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=redirect)
    answer = web.request(server, "/a/b", host=f"{bucket}.s3-website.localhost")
    assert (answer.status, answer.headers["location"]) == (301, "https://example.com/a/b")
    s3.delete_bucket_website(Bucket=bucket)
    with pytest.raises(ClientError, match="NoSuchWebsiteConfiguration"):
        s3.get_bucket_website(Bucket=bucket)
    for bad in [{}, {"IndexDocument": {"Suffix": "a/b"}}, {**redirect, "IndexDocument": {"Suffix": "i"}}]:
        with pytest.raises(ClientError):
            s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=bad)
