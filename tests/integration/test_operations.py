def test_the_operations_of_a_dense_model_are_its_multiplications_and_additions() -> None:
    import keras

    from pipeline.evaluate import count_operations

    layers = [keras.Input((4, 3), dtype="uint8"), keras.layers.Flatten(), keras.layers.Dense(10)]
    assert count_operations(keras.Sequential(layers)) == 2 * 12 * 10 + 10
