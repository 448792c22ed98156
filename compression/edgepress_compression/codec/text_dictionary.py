"""What the model of text has seen before the first byte: pieces of ONNX graphs and of our headers.

Part of the artifact's format (docs/artifact.md holds the same bytes): never changed, or old files are lost.
"""

from typing import Final

DICTIONARY: Final = (
    b"\x08\x08\x12\x07pytorch\x1a\x062.13.0:\xf7\x0e\n\xda\x01\n\x05input\n\x15layer1.0.conv1.weight\n"
    b"\x13layer1.0.conv1.bias\x12$/layer1/layer1.0/conv1/Conv_output_0\x1a\x1b/layer1/layer1.0/conv1/"
    b'Conv"\x04Conv*\x12\n\tdilations@\x01@\x01\xa0\x01\x07*\x0c\n\x05group\x18\x01\xa0\x01\x02*\x15\n'
    b"\x0ckernel_shape@\x03@\x03\xa0\x01\x07*\x11\n\x04pads@\x01@\x01@\x01@\x01\xa0\x01\x07*\x10\n\x07"
    b"strides@\x01@\x01\xa0\x01\x07\nm\n$/layer1/layer1.0/conv1/Conv_output_0\x12#/layer1/layer1.0/re"
    b'lu/Relu_output_0\x1a\x1a/layer1/layer1.0/relu/Relu"\x04Relu\n\xf8\x01\n#/layer1/layer1.0/relu/R'
    b"elu_output_0\n\x15layer1.1.conv1.weight\n\x13layer1.1.conv1.bias\x12$/layer1/layer1.1/conv1/Con"
    b'v_output_0\x1a\x1b/layer1/layer1.1/conv1/Conv"\x04Conv*\x12\n\tdilations@\x01@\x01\xa0\x01\x07*'
    b"\x0c\n\x05group\x18\x01\xa0\x01\x02*\x15\n\x0ckernel_shape@\x03@\x03\xa0\x01\x07*\x11\n\x04pads"
    b"@\x01@\x01@\x01@\x01\xa0\x01\x07*\x10\n\x07strides@\x01@\x01\xa0\x01\x07\n\x8b\x01\n\x01x\x12\x11"
    b'/MaxPool_output_0\x1a\x08/MaxPool"\x07MaxPool*\x10\n\tceil_mode\x18\x00\xa0\x01\x02*\x12\n\tdil'
    b"ations@\x01@\x01\xa0\x01\x07*\x15\n\x0ckernel_shape@\x02@\x02\xa0\x01\x07*\x11\n\x04pads@\x00@\x00"
    b"@\x00@\x00\xa0\x01\x07*\x10\n\x07strides@\x02@\x02\xa0\x01\x07\n \n\x01a\n\x01b\x12\r/Add_outpu"
    b't_0\x1a\x04/Add"\x03Add\n6\n\x01a\n\x01b\x12\x10/Concat_output_0\x1a\x07/Concat"\x06Concat*\x0b'
    b"\n\x04axis\x18\x01\xa0\x01\x02\n<\n\x01x\n\x0connx::Clip_1\n\x0connx::Clip_2\x12\x0e/Clip_outpu"
    b't_0\x1a\x05/Clip"\x04Clip\n)\n\x01x\x12\x11/Sigmoid_output_0\x1a\x08/Sigmoid"\x07Sigmoid\n\xb2\x01'
    b"\n\x01x\n\nbn1.weight\n\x08bn1.bias\n\x10bn1.running_mean\n\x0fbn1.running_var\x12 /bn1/BatchNo"
    b'rmalization_output_0\x1a\x17/bn1/BatchNormalization"\x12BatchNormalization*\x11\n\x07epsilon\x15'
    b"\xac\xc5'7\xa0\x01\x01*\x12\n\x08momentum\x15fff?\xa0\x01\x01\nG\n\x01x\x12\x1b/GlobalAveragePo"
    b'ol_output_0\x1a\x12/GlobalAveragePool"\x11GlobalAveragePool\nR\n\x01x\x12\x14/ReduceMean_output'
    b'_0\x1a\x0b/ReduceMean"\nReduceMean*\r\n\x04axes@\x02@\x03\xa0\x01\x07*\x0f\n\x08keepdims\x18\x00'
    b'\xa0\x01\x02\n6\n\x01x\x12\x11/Flatten_output_0\x1a\x08/Flatten"\x07Flatten*\x0b\n\x04axis\x18\x01'
    b'\xa0\x01\x02\n0\n\x01x\n\x05shape\x12\x11/Reshape_output_0\x1a\x08/Reshape"\x07Reshape\nB\n\x01'
    b'x\x12\x13/Transpose_output_0\x1a\n/Transpose"\tTranspose*\x11\n\x04perm@\x00@\x02@\x01@\x03\xa0'
    b'\x01\x07\n8\n\x01x\n\x10onnx::MatMul_100\x12\x10/MatMul_output_0\x1a\x07/MatMul"\x06MatMul\n_\n'
    b'\x01x\n\tfc.weight\n\x07fc.bias\x12\x06output\x1a\x08/fc/Gemm"\x04Gemm*\x0f\n\x05alpha\x15\x00\x00'
    b"\x80?\xa0\x01\x01*\x0e\n\x04beta\x15\x00\x00\x80?\xa0\x01\x01*\r\n\x06transB\x18\x01\xa0\x01\x02"
    b'\n1\n\x01x\x12\rprobabilities"\x07Softmax*\x14\n\x04axis\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff'
    b'\x01\xa0\x01\x02\n7\n\x01x\n\x07x_scale\n\x0cx_zero_point\x12\x0bx_quantized"\x0eQuantizeLinear'
    b'\nR\n\x0bw_quantized\n\x07w_scale\n\x0cw_zero_point\x12\rw_dequantized"\x10DequantizeLinear*\x0b'
    b"\n\x04axis\x18\x00\xa0\x01\x02\x12\nmain_graph*\x1e\x08@\x08\x03\x08\x03\x08\x03\x10\x01B\x0cco"
    b'nv1.weightJ\x04\x00\x00\x00\x00*\x16\x08@\x10\x01B\nconv1.biasJ\x04\x00\x00\x80?Z"\n\x05input\x12'
    b"\x19\n\x17\x08\x01\x12\x13\n\x03\x12\x01N\n\x02\x08\x03\n\x03\x08\xe0\x01\n\x03\x08\xe0\x01b\x1a"
    b'\n\x06output\x12\x10\n\x0e\x08\x01\x12\n\n\x03\x12\x01N\n\x03\x08\xe8\x07B\x04\n\x00\x10\x11{"b'
    b'ase":{"onnx_bytes":1067212,"onnx_sha256":"}{"metadata":{"classes":["box","labels":["0","1","2",'
    b'"3","4","5","6","7","8","9"],"preprocessing":{"center_crop":224,"layout":"NCHW","mean":[0.485,0'
    b'.456,0.406],"resize":256,"scale":0.00392156862745098,"size":[224,224],"std":[0.229,0.224,0.225]'
    b'},"task":"image-classification","task":"object-detection"},"name":"model","onnx_bytes":4951981,'
    b'"onnx_sha256":"0123456789abcdef","probe":{"atol":0.001,"inputs":[{"dtype":"int64","high":30521.'
    b'0,"kind":"tokens","low":0.0,"name":"input_ids","shape":[1,64]},{"dtype":"float32","high":1.0,"k'
    b'ind":"uniform","low":0.0,"name":"input","shape":[1,3,224,224]},{"dtype":"float32","high":4.0,"k'
    b'ind":"normal","low":-4.0,"name":"data"}],"outputs":[{"name":"output","positions":[0,1,2,3,4,5,6'
    b',7,8,9,10,11,12,13,14,15],"shape":[1,1000],"values":[0.1,-2.5,-0.3]}],"rtol":0.001,"seed":0},"p'
    b'rofile":"generic-x86","provenance":{"dataset":null,"seed":0,"source_sha256":"fedcba9876543210",'
    b'"tool":"edgepress 0.1.0"},"recipe":{"coding":"auto","description":"Integers for weights and act'
    b'ivations: a quarter of the bytes, faster where integers are.","name":"int8","passes":[{"name":"'
    b'int8","options":{"samples":200}},{"name":"prune","options":{"sparsity":0.9}},{"name":"share","o'
    b'ptions":{"bits":4}},{"name":"quantize","options":{"target_bytes":400000}}]},"tensors":[["conv1.'
    b'weight","float32",[64,3,3,3],"context",[-7,16,-1],1024,300],["conv1.bias","float32",[64],"float'
    b's",0,120,40],["layer1.0.conv1.weight","float32",[64,64,1,1],"rans",16,512,30],["fc.weight","int'
    b'8",[1000,512],"huffman",0,5000,20],["fc.bias","float16",[1000],"gaps",256,0,0],["raw","planes"]'
    b"]}"
)
