"""DynamoDB with boto3's client and resource against the real server; and what a killed server must not lose."""

import concurrent.futures
import time
import uuid
from decimal import Decimal

import boto3
import harness
import pytest
from boto3.dynamodb.conditions import Attr, Key
from botocore.exceptions import ClientError


@pytest.fixture
def db(server):
    """A client."""
    return server.client("dynamodb")


def resource(server):
    return boto3.resource(
        "dynamodb",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.keys["access_key_id"],
        aws_secret_access_key=server.keys["secret_access_key"],
        region_name="us-east-1",
    )


def make(server, hash_type="S", range_type=None, **more):
    """A new table with the keys `pk` and, when it has a type, `sk`; as a resource."""
    definitions = [{"AttributeName": "pk", "AttributeType": hash_type}]
    keys = [{"AttributeName": "pk", "KeyType": "HASH"}]
    if range_type:
        definitions.append({"AttributeName": "sk", "AttributeType": range_type})
        keys.append({"AttributeName": "sk", "KeyType": "RANGE"})
    definitions += more.pop("AttributeDefinitions", [])
    table = resource(server).create_table(
        TableName=f"t-{uuid.uuid4()}", AttributeDefinitions=definitions, KeySchema=keys, BillingMode="PAY_PER_REQUEST", **more
    )
    table.wait_until_exists()
    return table


def refused(code, operation, **arguments):
    with pytest.raises(ClientError) as caught:
        operation(**arguments)
    assert caught.value.response["Error"]["Code"] == code, caught.value
    return caught.value.response


def invalid(part, operation, **arguments):
    """Refused as invalid, with this in the message."""
    message = refused("ValidationException", operation, **arguments)["Error"]["Message"]
    assert part in message, message


def test_tables_are_made_described_listed_and_deleted(server, db):
    name = f"list-{uuid.uuid4()}"
    arguments = dict(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        ProvisionedThroughput={"ReadCapacityUnits": 3, "WriteCapacityUnits": 4},
        Tags=[{"Key": "a", "Value": "1"}],
    )
    made = db.create_table(**arguments)["TableDescription"]
    db.get_waiter("table_exists").wait(TableName=name)
    found = db.describe_table(TableName=name)["Table"]
    assert found["TableArn"] == made["TableArn"] == f"arn:aws:dynamodb:us-east-1:{server.keys['account']}:table/{name}"
    assert (found["TableStatus"], found["ItemCount"], found["KeySchema"]) == ("ACTIVE", 0, arguments["KeySchema"])
    assert found["AttributeDefinitions"] == arguments["AttributeDefinitions"]
    assert found["ProvisionedThroughput"]["WriteCapacityUnits"] == 4
    assert db.describe_table(TableName=found["TableArn"])["Table"]["TableId"] == found["TableId"]
    refused("ResourceInUseException", db.create_table, **arguments)
    tables = [name for page in db.get_paginator("list_tables").paginate(PaginationConfig={"PageSize": 1}) for name in page["TableNames"]]
    assert name in tables and tables == sorted(tables)
    db.update_table(TableName=name, BillingMode="PAY_PER_REQUEST", DeletionProtectionEnabled=True)
    assert db.describe_table(TableName=name)["Table"]["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    invalid("protected", db.delete_table, TableName=name)
    db.update_table(TableName=name, DeletionProtectionEnabled=False)
    db.tag_resource(ResourceArn=found["TableArn"], Tags=[{"Key": "b", "Value": "2"}])
    db.untag_resource(ResourceArn=found["TableArn"], TagKeys=["a"])
    assert db.list_tags_of_resource(ResourceArn=found["TableArn"])["Tags"] == [{"Key": "b", "Value": "2"}]
    assert db.delete_table(TableName=name)["TableDescription"]["TableStatus"] == "DELETING"
    db.get_waiter("table_not_exists").wait(TableName=name)
    refused("ResourceNotFoundException", db.describe_table, TableName=name)
    refused("ResourceNotFoundException", db.get_item, TableName=name, Key={"id": {"N": "1"}})
    db.create_table(**arguments)
    assert db.scan(TableName=name)["Count"] == 0


def test_tables_that_cannot_be_are_refused(db):
    arguments = dict(
        TableName="bad",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    invalid("greater than or equal to 3", db.create_table, **{**arguments, "TableName": "ab"})
    invalid("regular expression", db.create_table, **{**arguments, "TableName": "a b c"})
    invalid("enum value set", db.create_table, **{**arguments, "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "SS"}]})
    invalid("not defined in AttributeDefinitions", db.create_table, **{**arguments, "AttributeDefinitions": []})
    invalid("not a HASH key", db.create_table, **{**arguments, "KeySchema": [{"AttributeName": "id", "KeyType": "RANGE"}]})
    invalid("must both be specified", db.create_table, **{**arguments, "BillingMode": "PROVISIONED"})
    refused("NotImplementedException", db.create_table, **arguments, StreamSpecification={"StreamEnabled": True})
    message = refused("NotImplementedException", db.create_backup, TableName="bad", BackupName="b")["Error"]["Message"]
    assert "CreateBackup" in message


def test_items_of_every_type_come_back_as_they_were(server):
    table = make(server)
    item = {
        "pk": "ключ",
        "text": "",
        "number": Decimal("-1.5E-120"),
        "big": Decimal("12345678901234567890123456789012345678"),
        "bytes": b"\0\xff",
        "yes": True,
        "nothing": None,
        "list": [1, "two", {"three": [b""]}],
        "map": {"a.b": {"c": Decimal("1E+100")}},
        "names": {"a", "b"},
        "numbers": {1, Decimal("2.5")},
        "blobs": {b"x", b"y"},
    }
    table.put_item(Item=item)
    found = table.get_item(Key={"pk": "ключ"}, ConsistentRead=True)["Item"]
    assert found == {**item, "bytes": boto3.dynamodb.types.Binary(b"\0\xff")}
    old = table.put_item(Item={"pk": "ключ", "v": 1}, ReturnValues="ALL_OLD")["Attributes"]
    assert old["big"] == item["big"]
    assert table.delete_item(Key={"pk": "ключ"}, ReturnValues="ALL_OLD")["Attributes"] == {"pk": "ключ", "v": 1}
    assert "Item" not in table.get_item(Key={"pk": "ключ"})
    assert "Attributes" not in table.delete_item(Key={"pk": "ключ"}, ReturnValues="ALL_OLD")


def test_items_that_cannot_be_are_refused(server, db):
    name = make(server, "S", "N").name

    def put(**attributes):
        return lambda **_: db.put_item(TableName=name, Item={"pk": {"S": "a"}, "sk": {"N": "1"}, **attributes})

    put()()
    invalid("Missing the key sk in the item", db.put_item, TableName=name, Item={"pk": {"S": "a"}})
    invalid("Type mismatch for key sk expected: N actual: S", put(sk={"S": "1"}))
    invalid("cannot contain an empty string value. Key: pk", put(pk={"S": ""}))
    invalid("Size of hashkey", put(pk={"S": "x" * 2049}))
    invalid("does not match the schema", db.get_item, TableName=name, Key={"pk": {"S": "a"}})
    invalid("does not match the schema", db.delete_item, TableName=name, Key={"pk": {"S": "a"}, "sk": {"S": "1"}})
    invalid("An string set  may not be empty", put(a={"SS": []}))
    invalid("contains duplicates", put(a={"NS": ["1", "1.0"]}))
    invalid("cannot be converted to a numeric value: 1x", put(a={"N": "1x"}))
    invalid("more than 38 significant digits", put(a={"N": "1" * 39}))
    invalid("Number overflow", put(a={"N": "1e126"}))
    invalid("must contain exactly one", put(a={}))
    put(a={"S": "x" * (400 * 1024 - 8)})()
    invalid("Item size has exceeded the maximum allowed size", put(a={"S": "x" * 400 * 1024}))
    invalid("legacy parameter Expected", db.put_item, TableName=name, Item={}, Expected={"a": {"Exists": False}})
    invalid("ReturnValues can only be ALL_OLD or NONE", db.put_item, TableName=name, Item={}, ReturnValues="ALL_NEW")


def test_conditions_guard_writes(server, db):
    table = make(server)
    put = table.put_item
    put(Item={"pk": "a", "n": 1}, ConditionExpression=Attr("pk").not_exists())
    failed = "ConditionalCheckFailedException"
    response = refused(
        failed,
        put,
        Item={"pk": "a", "n": 2},
        ConditionExpression=Attr("pk").not_exists(),
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
    )
    assert response["Item"] == {"pk": {"S": "a"}, "n": {"N": "1"}}
    assert response["Error"]["Message"] == "The conditional request failed"
    refused(failed, table.delete_item, Key={"pk": "a"}, ConditionExpression=Attr("n").gt(1))
    refused(failed, table.update_item, Key={"pk": "b"}, UpdateExpression="SET n = :n", ConditionExpression="attribute_exists(pk)", ExpressionAttributeValues={":n": 1})
    table.delete_item(Key={"pk": "a"}, ConditionExpression=Attr("n").between(0, 1) & ~Attr("x").exists())
    key = {"pk": {"S": "a"}}
    invalid("reserved keyword: name", db.delete_item, TableName=table.name, Key=key, ConditionExpression="attribute_exists(name)")
    invalid(
        "unused in expressions: keys: {:x}",
        db.delete_item,
        TableName=table.name,
        Key=key,
        ConditionExpression="attribute_exists(n)",
        ExpressionAttributeValues={":x": {"S": ""}},
    )
    invalid(
        "can only be specified when using expressions",
        db.delete_item,
        TableName=table.name,
        Key=key,
        ExpressionAttributeNames={"#x": "n"},
    )


def test_updates_return_what_is_asked(server):
    table = make(server)

    def update(expression, returned="ALL_NEW", names=None, **values):
        more = {"ExpressionAttributeNames": names} if names else {}
        if values:
            more["ExpressionAttributeValues"] = {f":{name}": value for name, value in values.items()}
        return table.update_item(Key={"pk": "a"}, UpdateExpression=expression, ReturnValues=returned, **more).get("Attributes")

    assert update("SET n = :n, m = :m ADD c :n", n=1, m={"x": 1, "l": [1, 2]}) == {"pk": "a", "n": 1, "c": 1, "m": {"x": 1, "l": [1, 2]}}
    assert update("SET m.x = m.x + :n, n = if_not_exists(n, :n)", "UPDATED_NEW", n=5) == {"m": {"x": 6}, "n": 1}
    assert update("SET m.l = list_append(:l, m.l)", "UPDATED_OLD", l=[0]) == {"m": {"l": [1, 2]}}
    assert update("REMOVE m.l[0], #n", names={"#n": "n"})["m"] == {"x": 6, "l": [1, 2]}
    assert update("ADD s :s", "UPDATED_NEW", s={"a", "b"}) == {"s": {"a", "b"}}
    assert update("DELETE s :s", "UPDATED_NEW", s={"a"}) == {"s": {"b"}}
    assert update("DELETE s :s", "UPDATED_NEW", s={"b"}) is None
    assert table.update_item(Key={"pk": "empty"}, ReturnValues="ALL_NEW")["Attributes"] == {"pk": "empty"}
    for expression, values, part in [
        ("SET pk = :v", {"v": "b"}, "Cannot update attribute pk. This attribute is part of the key"),
        ("SET a.b = :v", {"v": 1}, "document path provided in the update expression is invalid"),
        ("SET a = b", {}, "refers to an attribute that does not exist"),
        ("SET a = m + :v", {"v": 1}, "incorrect data type"),
        ("SET a = :v, a.b = :v", {"v": 1}, "overlap"),
        ("SETT a = :v", {"v": 1}, "Syntax error"),
        ("SET a = :v", {"v": "x" * 400 * 1024}, "Item size to update has exceeded"),
    ]:
        invalid(part, lambda **_: update(expression, **values))


def test_counters_lose_nothing(server):
    table = make(server)

    def count(_):
        table.update_item(Key={"pk": "a"}, UpdateExpression="ADD n :one", ExpressionAttributeValues={":one": 1})

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(200)))
    assert table.get_item(Key={"pk": "a"})["Item"]["n"] == 200


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("N", [Decimal(n) for n in ["-1E+30", "-20.5", "-20", "-1E-30", "0", "1E-130", "0.5", "3", "20", "100", "9E+125"]]),
        ("S", ["\0", "\0a", "A", "B", "Ba", "a", "a\0", "ab", "é", "ሴ", "😀"]),
        ("B", [b"\0", b"\0\0", b"\0\xff", b"\x01", b"a", b"a\0", b"\xff", b"\xff\xff"]),
    ],
)
def test_sort_keys_are_in_order(server, kind, keys):
    table = make(server, "S", kind)
    with table.batch_writer() as batch:
        for key in reversed(keys):
            batch.put_item(Item={"pk": "a", "sk": key})
        batch.put_item(Item={"pk": "b", "sk": keys[0]})

    def found(condition, **more):
        items = table.query(KeyConditionExpression=Key("pk").eq("a") & condition, **more)["Items"]
        return [item["sk"].value if kind == "B" else item["sk"] for item in items]

    for place, key in enumerate(keys):
        sort = Key("sk")
        assert found(sort.lt(key)) == keys[:place]
        assert found(sort.lte(key), ScanIndexForward=False) == keys[place::-1]
        assert found(sort.gt(key)) == keys[place + 1 :]
        assert found(sort.gte(key), Limit=2) == keys[place : place + 2]
        assert found(sort.eq(key)) == [key]
        assert found(sort.between(keys[0], key)) == keys[: place + 1]
        if kind != "N":
            assert found(sort.begins_with(key)) == [other for other in keys if other.startswith(key)]


def test_queries_and_scans_come_in_pages(server, db):
    table = make(server, "S", "N")
    with table.batch_writer() as batch:
        for number in range(120):
            batch.put_item(Item={"pk": f"p{number % 3}", "sk": number, "even": number % 2 == 0, "pad": "x" * 30_000})
    one = [number for number in range(120) if number % 3 == 1]

    def pages(operation, **arguments):
        for page in db.get_paginator(operation).paginate(TableName=table.name, **arguments):
            yield page["ScannedCount"], [int(item["sk"]["N"]) for item in page.get("Items", [])]

    query = {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": "p1"}}}
    for forward in True, False:
        got = list(pages("query", **query, ScanIndexForward=forward))
        assert [number for _, page in got for number in page] == (one if forward else one[::-1])
        assert [scanned for scanned, _ in got] == [35, 5], "a page ends after 1 MB"
    got = list(pages("query", **query, PaginationConfig={"PageSize": 7}))
    assert [number for _, page in got for number in page] == one
    filtered = db.query(
        TableName=table.name,
        KeyConditionExpression="pk = :p AND sk BETWEEN :a AND :b",
        FilterExpression="even = :e",
        ProjectionExpression="sk",
        ExpressionAttributeValues={":p": {"S": "p1"}, ":a": {"N": "4"}, ":b": {"N": "16"}, ":e": {"BOOL": True}},
        ReturnConsumedCapacity="TOTAL",
    )
    assert filtered["Items"] == [{"sk": {"N": "4"}}, {"sk": {"N": "10"}}, {"sk": {"N": "16"}}]
    assert (filtered["Count"], filtered["ScannedCount"], filtered["ConsumedCapacity"]["TableName"]) == (3, 5, table.name)
    counted = db.query(TableName=table.name, **query, Select="COUNT", Limit=3)
    assert (counted["Count"], "Items" in counted, counted["LastEvaluatedKey"]["sk"]["N"]) == (3, False, "7")
    assert sorted(number for _, page in pages("scan") for number in page) == list(range(120))
    segments = [[n for _, page in pages("scan", Segment=s, TotalSegments=4) for n in page] for s in range(4)]
    assert sorted(sum(segments, [])) == list(range(120))
    assert table.scan(FilterExpression=Attr("sk").is_in([1, 2, 500]), Select="COUNT")["ScannedCount"] < 120
    invalid("missed key schema element: pk", db.query, TableName=table.name, KeyConditionExpression="sk = :s", ExpressionAttributeValues={":s": {"N": "1"}})
    invalid("does not match schema type", db.query, TableName=table.name, KeyConditionExpression="pk = :s", ExpressionAttributeValues={":s": {"N": "1"}})
    invalid("non-primary key attributes", db.query, TableName=table.name, **query, FilterExpression="attribute_exists(sk)")
    invalid("starting key", db.query, TableName=table.name, **query, ExclusiveStartKey={"pk": {"S": "p1"}})
    invalid("does not have the specified index", db.query, TableName=table.name, IndexName="none", **query)
    invalid("must be less than parameter TotalSegments", db.scan, TableName=table.name, Segment=4, TotalSegments=4)


def test_indexes_follow_their_items(server, db):
    def index(name, hash_key, range_key, projection):
        keys = [{"AttributeName": hash_key, "KeyType": "HASH"}, {"AttributeName": range_key, "KeyType": "RANGE"}]
        return {"IndexName": name, "KeySchema": keys[: 2 if range_key else 1], "Projection": projection}

    table = make(
        server,
        "S",
        "S",
        AttributeDefinitions=[{"AttributeName": "g", "AttributeType": "S"}, {"AttributeName": "n", "AttributeType": "N"}],
        LocalSecondaryIndexes=[index("local", "pk", "n", {"ProjectionType": "KEYS_ONLY"})],
        GlobalSecondaryIndexes=[
            index("all", "g", "n", {"ProjectionType": "ALL"}),
            index("some", "g", None, {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["x"]}),
        ],
    )
    for place, (g, n) in enumerate([("a", 3), ("a", 1), ("b", 2), ("a", 2), (None, 9)]):
        item = {"pk": f"p{place % 2}", "sk": f"s{place}", "n": n, "x": place, "y": "y"}
        table.put_item(Item={**item, "g": g} if g else item)

    def query(name, condition, **more):
        return table.query(IndexName=name, KeyConditionExpression=condition, **more)

    assert [item["n"] for item in query("all", Key("g").eq("a"))["Items"]] == [1, 2, 3]
    assert [item["n"] for item in query("all", Key("g").eq("a") & Key("n").gte(2), ScanIndexForward=False)["Items"]] == [3, 2]
    assert query("some", Key("g").eq("b"))["Items"] == [{"pk": "p0", "sk": "s2", "g": "b", "x": 2}]
    local = query("local", Key("pk").eq("p0"))["Items"]
    assert local == [{"pk": "p0", "sk": f"s{s}", "n": n} for s, n in [(2, 2), (0, 3), (4, 9)]]
    whole = query("local", Key("pk").eq("p0") & Key("n").eq(9), Select="ALL_ATTRIBUTES", ConsistentRead=True)["Items"]
    assert whole[0]["y"] == "y"
    assert table.scan(IndexName="all", Select="COUNT")["Count"] == 4
    first = query("all", Key("g").eq("a"), Limit=1)
    assert set(first["LastEvaluatedKey"]) == {"pk", "sk", "g", "n"}
    rest = query("all", Key("g").eq("a"), ExclusiveStartKey=first["LastEvaluatedKey"])
    assert [item["n"] for item in first["Items"] + rest["Items"]] == [1, 2, 3]
    table.update_item(Key={"pk": "p1", "sk": "s1"}, UpdateExpression="SET n = :n, x = :n", ExpressionAttributeValues={":n": 7})
    table.update_item(Key={"pk": "p1", "sk": "s3"}, UpdateExpression="REMOVE g")
    table.delete_item(Key={"pk": "p0", "sk": "s2"})
    assert [item["n"] for item in query("all", Key("g").eq("a"))["Items"]] == [3, 7]
    assert sorted(item["x"] for item in query("some", Key("g").eq("a"))["Items"]) == [0, 7]
    assert query("all", Key("g").eq("b"))["Count"] == 0
    invalid("Type mismatch for Index Key n", table.put_item, Item={"pk": "a", "sk": "b", "n": "text"})
    invalid("not supported on global", query, name="all", condition=Key("g").eq("a"), ConsistentRead=True)
    create = {**index("late", "x", None, {"ProjectionType": "ALL"})}
    db.update_table(
        TableName=table.name,
        AttributeDefinitions=[{"AttributeName": "x", "AttributeType": "N"}],
        GlobalSecondaryIndexUpdates=[{"Create": create}],
    )
    assert query("late", Key("x").eq(7))["Items"][0]["sk"] == "s1"
    db.update_table(TableName=table.name, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "some"}}])
    found = db.describe_table(TableName=table.name)["Table"]
    assert {index["IndexName"]: index["IndexStatus"] for index in found["GlobalSecondaryIndexes"]} == {"all": "ACTIVE", "late": "ACTIVE"}


def test_batches_read_and_write(server, db):
    table, other = make(server), make(server, "N")
    put = [{"PutRequest": {"Item": {"pk": {"S": f"k{n}"}, "v": {"N": str(n)}}}} for n in range(24)]
    answer = db.batch_write_item(
        RequestItems={table.name: put, other.name: [{"PutRequest": {"Item": {"pk": {"N": "1"}}}}]}, ReturnConsumedCapacity="TOTAL"
    )
    assert answer["UnprocessedItems"] == {} and len(answer["ConsumedCapacity"]) == 2
    keys = [{"pk": {"S": f"k{n}"}} for n in range(30)]
    request = {table.name: {"Keys": keys, "ProjectionExpression": "v"}, other.name: {"Keys": [{"pk": {"N": "1.0"}}]}}
    found = db.batch_get_item(RequestItems=request)
    assert sorted(int(item["v"]["N"]) for item in found["Responses"][table.name]) == list(range(24))
    assert found["Responses"][other.name] == [{"pk": {"N": "1"}}] and found["UnprocessedKeys"] == {}
    db.batch_write_item(RequestItems={table.name: [{"DeleteRequest": {"Key": keys[0]}}, put[1]]})
    assert table.scan(Select="COUNT")["Count"] == 23
    invalid("Too many items", db.batch_write_item, RequestItems={table.name: put + put})
    invalid("contains duplicates", db.batch_write_item, RequestItems={table.name: [put[0], put[0]]})
    invalid("contains duplicates", db.batch_get_item, RequestItems={table.name: {"Keys": [keys[0], keys[0]]}})
    big = [{"PutRequest": {"Item": {"pk": {"S": f"b{n}"}, "v": {"S": "x" * 399_000}}}} for n in range(50)]
    for start in range(0, 50, 25):
        db.batch_write_item(RequestItems={table.name: big[start : start + 25]})
    wanted = {table.name: {"Keys": [{"pk": {"S": f"b{n}"}} for n in range(50)]}}
    got = 0
    while wanted:
        answer = db.batch_get_item(RequestItems=wanted)
        got += len(answer["Responses"][table.name])
        wanted = answer["UnprocessedKeys"]
        assert got == 50 or wanted, "an answer has at most 16 MB"
    assert got == 50


def test_transactions_are_all_or_nothing(server, db):
    table, other = make(server), make(server)
    token = str(uuid.uuid4())

    def put(table, key, **more):
        return {"Put": {"TableName": table.name, "Item": {"pk": {"S": key}}, **more}}

    def add(table, key, **more):
        values = {"ExpressionAttributeValues": {":one": {"N": "1"}}}
        return {"Update": {"TableName": table.name, "Key": {"pk": {"S": key}}, "UpdateExpression": "ADD n :one", **values, **more}}

    items = [put(table, "a", ConditionExpression="attribute_not_exists(pk)"), add(other, "n")]
    for _ in range(2):
        db.transact_write_items(TransactItems=items, ClientRequestToken=token)
    assert other.get_item(Key={"pk": "n"})["Item"]["n"] == 1, "the same token does it once"
    refused("IdempotentParameterMismatchException", db.transact_write_items, TransactItems=items[1:], ClientRequestToken=token)
    check = {"ConditionCheck": {"TableName": table.name, "Key": {"pk": {"S": "z"}}, "ConditionExpression": "attribute_exists(pk)"}}
    response = refused(
        "TransactionCanceledException",
        db.transact_write_items,
        TransactItems=[add(other, "n"), put(table, "a", ConditionExpression="attribute_not_exists(pk)", ReturnValuesOnConditionCheckFailure="ALL_OLD"), check],
    )
    assert [reason["Code"] for reason in response["CancellationReasons"]] == ["None", "ConditionalCheckFailed", "ConditionalCheckFailed"]
    assert response["CancellationReasons"][1]["Item"] == {"pk": {"S": "a"}}
    assert "[None, ConditionalCheckFailed, ConditionalCheckFailed]" in response["Error"]["Message"]
    assert other.get_item(Key={"pk": "n"})["Item"]["n"] == 1
    invalid("multiple operations on one item", db.transact_write_items, TransactItems=[put(table, "a"), add(table, "a")])
    gets = [{"Get": {"TableName": t.name, "Key": {"pk": {"S": key}}}} for t, key in [(table, "a"), (other, "n"), (other, "none")]]
    found = db.transact_get_items(TransactItems=gets)["Responses"]
    assert found == [{"Item": {"pk": {"S": "a"}}}, {"Item": {"pk": {"S": "n"}, "n": {"N": "1"}}}, {}]


def test_transfers_keep_the_sum(server, db):
    """Readers see the two accounts at one moment, whatever writers do."""
    table = make(server)
    for key in "ab":
        table.put_item(Item={"pk": key, "n": 100})

    def update(key, sign):
        values = {":n": {"N": str(sign)}}
        return {"Update": {"TableName": table.name, "Key": {"pk": {"S": key}}, "UpdateExpression": "ADD n :n", "ExpressionAttributeValues": values}}

    def transfer(number):
        one, two = ("a", "b") if number % 2 else ("b", "a")
        db.transact_write_items(TransactItems=[update(one, -number), update(two, number)])

    def total(_):
        gets = [{"Get": {"TableName": table.name, "Key": {"pk": {"S": key}}}} for key in "ba"]
        return sum(int(found["Item"]["n"]["N"]) for found in db.transact_get_items(TransactItems=gets)["Responses"])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = pool.map(transfer, range(60))
        assert set(pool.map(total, range(60))) == {200}
        list(done)
    assert total(0) == 200


def test_items_expire(server, db):
    table = make(server)
    now = int(time.time())
    for key, at in [("old", now - 60), ("ancient", now - 6 * 365 * 86_400), ("later", now + 3600), ("text", str(now - 60))]:
        table.put_item(Item={"pk": key, "at": at})
    assert db.describe_time_to_live(TableName=table.name)["TimeToLiveDescription"] == {"TimeToLiveStatus": "DISABLED"}
    enable = {"TableName": table.name, "TimeToLiveSpecification": {"Enabled": True, "AttributeName": "at"}}
    db.update_time_to_live(**enable)
    invalid("already enabled", db.update_time_to_live, **enable)
    assert db.describe_time_to_live(TableName=table.name)["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED"
    table.put_item(Item={"pk": "new", "at": now - 1})
    deadline = time.monotonic() + 120 * harness.SLOW
    left = None
    while left != {"ancient", "later", "text"} and time.monotonic() < deadline:
        left = {item["pk"] for item in table.scan()["Items"]}
        time.sleep(0.2)
    assert left == {"ancient", "later", "text"}


def test_nothing_acknowledged_is_lost(folder):
    with harness.Server(folder) as server:
        table = make(
            server,
            AttributeDefinitions=[{"AttributeName": "g", "AttributeType": "S"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "by-g",
                    "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        )
        for number in range(50):
            table.put_item(Item={"pk": str(number), "g": "one"})
        server.kill()
        server.process.wait()
    with harness.Server(folder) as server:
        table = resource(server).Table(table.name)
        assert table.scan(Select="COUNT")["Count"] == 50
        found = table.query(IndexName="by-g", KeyConditionExpression=Key("g").eq("one"))["Items"]
        assert {item["pk"] for item in found} == {str(number) for number in range(50)}
        assert server.stop() == 0


def test_hostile_requests_end_in_an_answer(server, db):
    name = make(server).name
    key = {"pk": {"S": "a"}}
    deep = {"S": ""}
    for _ in range(40):
        deep = {"L": [deep]}
    invalid("Nesting Levels", db.put_item, TableName=name, Item={**key, "deep": deep})
    for text in ["(" * 4000, "NOT " * 900, "a = " * 900, "a" * 5000, "a" + "[0]" * 900, "\0", "a = :x", "#"]:
        refused("ValidationException", db.delete_item, TableName=name, Key=key, ConditionExpression=text)
        refused("ValidationException", db.scan, TableName=name, FilterExpression=text)
        refused("ValidationException", db.update_item, TableName=name, Key=key, UpdateExpression=text)
