"""What /openapi.json lists."""


def test_every_method_of_a_shared_path_is_described(stage):
    paths = stage.get("/openapi.json").json()["paths"]
    assert {"get", "post"} <= paths["/v1/chat/completions"].keys()
    assert {"get", "post"} <= paths["/v1/files"].keys()
