"""Signatures, against AWS's published example."""

import calendar

from dayfly import _sigv4


def test_the_published_example_gives_the_published_signature():
    # "Signature Calculations for the Authorization Header", GET Object.
    keys = _sigv4.Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    headers = _sigv4.sign(
        "GET",
        "examplebucket.s3.amazonaws.com",
        "/test.txt",
        keys,
        "s3",
        {"Range": "bytes=0-9"},
        payload="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        now=calendar.timegm((2013, 5, 24, 0, 0, 0)),
    )
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_paths_are_encoded_again_but_for_s3():
    keys = _sigv4.Keys("A", "b", "token", "eu-west-1")
    one = _sigv4.sign("GET", "h", "/a%20b", keys, "s3", now=0)
    other = _sigv4.sign("GET", "h", "/a%20b", keys, "dayfly", now=0)
    assert one["x-amz-security-token"] == "token" and "/eu-west-1/s3/" in one["authorization"]
    assert one["authorization"].split("Signature=")[1] != other["authorization"].split("Signature=")[1]


def test_queries_are_sorted_and_encoded():
    assert _sigv4.query_string({"b": "x y/", "a": ""}) == "a=&b=x%20y%2F"
